package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image"
	imagepng "image/png"
	"net/http"
	"strings"
	"testing"
	"time"

	"rsc.io/qr"

	"github.com/wapro/hub/internal/gateway"
)

const pairing = "2@Zm9yLWEtdGVzdA==,c2VjcmV0,a2V5cw==,YWR2"

// session changes the stored session as its owner would.
func (h *hub) session(f gateway.Fence, change func(*gateway.Session)) {
	h.t.Helper()
	_, err := h.store.UpdateSession(h.t.Context(), f, change)
	must(h.t, err)
}

func shows(code string) func(*gateway.Session) {
	return func(s *gateway.Session) {
		s.State, s.Reason, s.PairingCode, s.PairingExpiresAt = gateway.SessionPairing, gateway.ReasonScanQR, code, time.Now().Add(time.Hour)
	}
}

func online(s *gateway.Session) {
	s.State, s.Reason, s.JID, s.PairingCode = gateway.SessionOnline, gateway.ReasonConnected, "15550001111:3@s.whatsapp.net", ""
}

type sessionBody struct {
	State               string
	Reason, JID, Number *string
	Queue               struct{ High, Normal, Bulk int }
	Restriction         *struct {
		Kind  string
		Until *time.Time
	}
}

func TestSessionTellsWhatItIsDoing(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	get := func() sessionBody {
		t.Helper()
		return decode[sessionBody](h.do(request{path: "/api/algo/session"}).want(http.StatusOK))
	}
	if s := get(); s.State != "unpaired" || *s.Reason != "never_paired" || s.JID != nil || s.Number != nil || s.Restriction != nil {
		t.Errorf("new: %+v", s)
	}
	fence := h.own()[h.algo.Key]
	h.session(fence, online)
	h.session(fence, func(s *gateway.Session) {
		s.Restriction = gateway.Restriction{Kind: gateway.RestrictionFirstContacts, Until: time.Now().Add(time.Hour)}
	})
	h.text("919876543210", "waits")
	if s := get(); s.State != "online" || *s.Number != "15550001111" || s.Queue.Normal != 1 || s.Restriction == nil || s.Restriction.Kind != "first_contacts" {
		t.Errorf("online: %+v", s)
	}
	must(t, h.store.ReleaseSessions(t.Context(), "worker-1"))
	if s := get(); s.State != "offline" || *s.Reason != "no_worker" {
		t.Errorf("without an owner: %+v", s)
	}
}

func TestConnectAndLogoutAskTheOwner(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	commands := func() (kinds []gateway.CommandKind) {
		t.Helper()
		taken, err := h.store.TakeCommands(t.Context(), "worker-1")
		must(t, err)
		for _, c := range taken {
			kinds = append(kinds, c.Kind)
		}
		return kinds
	}
	post := func(path, body string) response {
		t.Helper()
		return h.do(request{method: http.MethodPost, path: path, body: body})
	}
	for _, body := range []string{"", "{}", `{"method":"qr","phone":null}`} {
		post("/api/algo/session/connect", body).want(http.StatusAccepted)
		if got := commands(); len(got) != 1 || got[0] != gateway.CommandConnect {
			t.Errorf("commands %v", got)
		}
	}
	post("/api/algo/session/connect", `{"method":"fax"}`).refused(422, gateway.CodeInvalidBody, "/method")
	post("/api/algo/session/connect", `{"via":"qr"}`).refused(422, gateway.CodeUnknownField, "/via")
	h.session(fence, online)
	post("/api/algo/session/connect", "").refused(http.StatusConflict, gateway.CodeAlreadyPaired, "")
	if got := commands(); len(got) != 0 {
		t.Errorf("refused requests asked for %v", got)
	}
	post("/api/algo/session/logout", "").want(http.StatusAccepted)
	if got := commands(); len(got) != 1 || got[0] != gateway.CommandLogout {
		t.Errorf("commands %v", got)
	}
}

func TestQRCodeComesInEveryFormat(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	path := "/api/algo/session/qr"
	h.do(request{path: path}).refused(http.StatusConflict, gateway.CodeNotPairing, "")
	fence := h.own()[h.algo.Key]
	h.session(fence, shows(pairing))
	get := func(accept string) response {
		t.Helper()
		r := request{path: path}
		if accept != "" {
			r.header = map[string]string{"Accept": accept}
		}
		return h.do(r).want(http.StatusOK)
	}
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/json": "application/json",
		"image/png": "image/png", "image/svg+xml": "image/svg+xml", "image/*": "image/svg+xml",
		"text/html": "application/json", "image/png;q=0.5, image/svg+xml;q=0.9": "image/svg+xml",
		"text/html,image/png,*/*;q=0.8": "image/png", "nonsense": "application/json",
	} {
		if got := get(accept).header.Get("Content-Type"); got != want {
			t.Errorf("Accept %q: %s, want %s", accept, got, want)
		}
	}
	if code := decode[struct{ Code string }](get("")); code.Code != pairing {
		t.Errorf("code %q", code.Code)
	}
	want, err := qr.Encode(pairing, qr.L)
	must(t, err)
	samePicture(t, want, get("image/png").body)
	sameDrawing(t, want, get("image/svg+xml").body)

	h.session(fence, func(s *gateway.Session) { s.PairingExpiresAt = time.Now().Add(-time.Second) })
	h.do(request{path: path}).refused(http.StatusConflict, gateway.CodeNotPairing, "")
}

// samePicture compares a PNG with the code, module by module, the white border included.
func samePicture(t *testing.T, want *qr.Code, data []byte) {
	t.Helper()
	picture, err := imagepng.Decode(bytes.NewReader(data))
	must(t, err)
	modules := want.Size + 8
	side := picture.Bounds().Dx()
	if side != picture.Bounds().Dy() || side%modules != 0 {
		t.Fatalf("%v for %d modules", picture.Bounds(), modules)
	}
	scale := side / modules
	for y := range modules {
		for x := range modules {
			r, _, _, _ := picture.At(picture.Bounds().Min.X+x*scale+scale/2, picture.Bounds().Min.Y+y*scale+scale/2).RGBA()
			if dark := r < 0x8000; dark != want.Black(x-4, y-4) {
				t.Fatalf("module %d,%d is wrong (%v)", x, y, image.Pt(x, y))
			}
		}
	}
}

// sameDrawing compares an SVG's path with the code.
func sameDrawing(t *testing.T, want *qr.Code, data []byte) {
	t.Helper()
	var svg struct {
		ViewBox string `xml:"viewBox,attr"`
		Path    struct {
			D string `xml:"d,attr"`
		} `xml:"path"`
	}
	must(t, xml.Unmarshal(data, &svg))
	dark := map[image.Point]bool{}
	for run := range strings.SplitSeq(strings.TrimSuffix(svg.Path.D, "z"), "z") {
		var x, y, n, back int
		if _, err := fmt.Sscanf(run, "M%d %dh%dv1h-%d", &x, &y, &n, &back); err != nil || n != back {
			t.Fatalf("path %q: %v", run, err)
		}
		for i := range n {
			dark[image.Pt(x+i, y)] = true
		}
	}
	for y := range want.Size + 8 {
		for x := range want.Size + 8 {
			if dark[image.Pt(x, y)] != want.Black(x-4, y-4) {
				t.Fatalf("module %d,%d is wrong", x, y)
			}
		}
	}
}

type event struct {
	name string
	data []byte
}

// stream opens an event stream; what it says arrives on the channel, which closes with the stream. Once ctx has ended nobody need read it.
func (h *hub) stream(ctx context.Context, path string) <-chan event {
	h.t.Helper()
	got, err := h.send(ctx, request{path: path, keepRaw: true})
	must(h.t, err)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "text/event-stream" {
		h.t.Fatalf("status %d, %v", got.status, got.header)
	}
	events := make(chan event, 64)
	tell := func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	go func() {
		defer close(events)
		defer got.raw.Close()
		lines := bufio.NewScanner(got.raw)
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				e.name = value
			case name == "data":
				e.data = []byte(value)
			case lines.Text() == ": still here":
				tell(event{name: "heartbeat"})
			case lines.Text() == "" && e.name != "":
				tell(e)
				e = event{}
			}
		}
	}()
	return events
}

func next(t *testing.T, events <-chan event, name string) event {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the stream ended before an event %s", name)
			}
			if e.name == "heartbeat" && name != "heartbeat" {
				continue
			}
			if e.name != name {
				t.Fatalf("event %s %s, want %s", e.name, e.data, name)
			}
			return e
		case <-deadline.C:
			t.Fatalf("no event %s", name)
		}
	}
}

func TestStreamTellsStatesAndCodesAsTheyCome(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options.Heartbeat = 20 * time.Millisecond; s.options.MaxStreams = 1 })
	fence := h.own()[h.algo.Key]
	events := h.stream(t.Context(), "/api/algo/session/events")
	state := func(want string) {
		t.Helper()
		e := next(t, events, "state")
		must(t, description(t).validate("/components/schemas/Session", e.data))
		var s sessionBody
		must(t, json.Unmarshal(e.data, &s))
		if s.State != want {
			t.Fatalf("state %s, want %s", s.State, want)
		}
	}
	code := func(want string) {
		t.Helper()
		e := next(t, events, "code")
		must(t, description(t).validate("/components/schemas/QrCode", e.data))
		if !strings.Contains(string(e.data), want) {
			t.Fatalf("code %s, want %s", e.data, want)
		}
	}
	state("unpaired")
	next(t, events, "heartbeat")
	h.do(request{path: "/api/algo/session/events"}).refused(http.StatusServiceUnavailable, gateway.CodeTooManyWaiters, "")
	h.session(fence, shows(pairing))
	state("pairing")
	code(pairing)
	h.session(fence, shows("2@second"))
	code("2@second")
	h.session(fence, online)
	state("online")
	// Stop ends the stream in order: the reader sees its end, not a broken connection.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, h.server.Stop(ctx))
	for e := range events {
		if e.name != "heartbeat" {
			t.Errorf("after the end: %s", e.name)
		}
	}
}

func TestStreamOfAReaderWhoLeavesMakesRoom(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options.MaxStreams = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	events := h.stream(ctx, "/api/algo/session/events")
	next(t, events, "state")
	cancel()
	eventually(t, "there is room", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		got, err := h.send(ctx, request{path: "/api/algo/session/events", keepRaw: true})
		must(t, err)
		defer got.raw.Close()
		return got.status == http.StatusOK
	})
}
