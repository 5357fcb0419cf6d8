package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	connectPath = "/api/algo/session/connect"
	ownPhone    = "4915112345678"
)

// showsPhoneCode is what an owner stores when WhatsApp gave it a code for phone.
func showsPhoneCode(phone, code string) func(*gateway.Session) {
	return func(s *gateway.Session) {
		s.State, s.Reason, s.Since = gateway.SessionPairing, gateway.ReasonEnterCode, time.Now()
		s.PairingPhone, s.PairingCode, s.PairingExpiresAt = phone, code, time.Now().Add(time.Minute)
	}
}

func givesUp(s *gateway.Session) {
	s.State, s.Reason, s.Since = gateway.SessionUnpaired, gateway.ReasonPairingFailed, time.Now()
	s.PairingPhone, s.PairingCode, s.PairingExpiresAt = "", "", time.Time{}
}

// connecting sends a request to connect by code, and returns where its answer comes.
func (h *hub) connecting(ctx context.Context, phone string) <-chan response {
	h.t.Helper()
	answered := make(chan response, 1)
	go func() {
		defer close(answered)
		got, err := h.send(ctx, request{path: connectPath, body: `{"method":"code","phone":"` + phone + `"}`})
		if err != nil {
			h.t.Errorf("connect: %v", err)
			return
		}
		answered <- got
	}()
	return answered
}

// commanded waits for the one command to the owner.
func (h *hub) commanded() gateway.Command {
	h.t.Helper()
	var taken []gateway.Command
	eventually(h.t, "a command", func() bool {
		var err error
		taken, err = h.store.TakeCommands(h.t.Context(), "worker-1")
		must(h.t, err)
		return len(taken) > 0
	})
	if len(taken) != 1 {
		h.t.Fatalf("commands %+v", taken)
	}
	return taken[0]
}

type connectBody struct {
	State       string
	PairingCode *string
	ExpiresAt   *time.Time
}

func TestConnectByCodeAnswersWithTheCode(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	events := h.stream(t.Context(), "/api/algo/session/events")
	next(t, events, "state")
	answered := h.connecting(t.Context(), "+49 (151) 1234-5678")
	if c := h.commanded(); c.Kind != gateway.CommandConnect || c.Phone != ownPhone {
		t.Fatalf("the owner is asked for %+v", c)
	}
	// A QR code, or a code for another phone, is not what was asked for.
	h.session(fence, shows(pairing))
	h.session(fence, showsPhoneCode("4915100000000", "WXYZ-9876"))
	h.session(fence, showsPhoneCode(ownPhone, "ABCD-1234"))
	got := decode[connectBody]((<-answered).want(http.StatusAccepted))
	if got.State != "pairing" || got.PairingCode == nil || *got.PairingCode != "ABCD-1234" || got.ExpiresAt == nil || !got.ExpiresAt.After(time.Now()) {
		t.Errorf("answered %+v", got)
	}

	qr := h.do(request{path: "/api/algo/session/qr"}).refused(http.StatusConflict, gateway.CodeNotPairing, "")
	if detail := decode[problem](qr).Detail; !strings.Contains(detail, "entered on the phone") {
		t.Errorf("session/qr says %q", detail)
	}
	session := decode[sessionBody](h.do(request{path: "/api/algo/session"}).want(http.StatusOK))
	if session.State != "pairing" || *session.Reason != "enter_code" {
		t.Errorf("the session is %+v", session)
	}
	var told struct{ Method, Code string }
	eventually(t, "the stream tells the code", func() bool {
		e := <-events
		if e.name == "code" {
			must(t, description(t).validate("/components/schemas/QrCode", e.data))
			must(t, json.Unmarshal(e.data, &told))
		}
		return told.Code == "ABCD-1234"
	})
	if told.Method != "code" {
		t.Errorf("the stream says method %q", told.Method)
	}

	// Asked again it is the same code, and the owner is left alone.
	again := decode[connectBody]((<-h.connecting(t.Context(), ownPhone)).want(http.StatusAccepted))
	if again.PairingCode == nil || *again.PairingCode != "ABCD-1234" {
		t.Errorf("asked again it answers %+v", again)
	}
	if taken, err := h.store.TakeCommands(t.Context(), "worker-1"); err != nil || len(taken) != 0 {
		t.Errorf("asked again it commands %v, %v", taken, err)
	}
}

func TestConnectByCodeRefusesWhatIsNoPhone(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.own()
	for body, want := range map[string]gateway.Code{
		`{"method":"code"}`:                                            gateway.CodeInvalidBody,
		`{"method":"code","phone":null}`:                               gateway.CodeInvalidBody,
		`{"method":"code","phone":""}`:                                 gateway.CodeInvalidBody,
		`{"method":"qr","phone":"4915112345678"}`:                      gateway.CodeInvalidBody,
		`{"phone":"4915112345678"}`:                                    gateway.CodeInvalidBody,
		`{"method":"code","phone":4915112345678}`:                      gateway.CodeInvalidBody,
		`{"method":"code","phone":"123"}`:                              gateway.CodeInvalidRecipient,
		`{"method":"code","phone":"0151 12345678"}`:                    gateway.CodeInvalidRecipient,
		`{"method":"code","phone":"++4915112345678"}`:                  gateway.CodeInvalidRecipient,
		`{"method":"code","phone":"49151CALLNOW"}`:                     gateway.CodeInvalidRecipient,
		`{"method":"code","phone":"4915112345678@s.whatsapp.net"}`:     gateway.CodeInvalidRecipient,
		`{"method":"code","phone":"+"}`:                                gateway.CodeInvalidRecipient,
		`{"phone":"` + strings.Repeat("4", 100) + `","method":"code"}`: gateway.CodeInvalidRecipient,
	} {
		t.Run(body, func(t *testing.T) {
			h.in(t).do(request{path: connectPath, body: body}).refused(http.StatusUnprocessableEntity, want, "/phone")
		})
	}
	if taken, err := h.store.TakeCommands(t.Context(), "worker-1"); err != nil || len(taken) != 0 {
		t.Errorf("refused requests command %v, %v", taken, err)
	}
}

func TestConnectByCodeNeedsASessionWithoutANumber(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	h.session(fence, online)
	h.session(fence, func(s *gateway.Session) { s.State, s.Reason = gateway.SessionOffline, gateway.ReasonConnectionLost })
	(<-h.connecting(t.Context(), ownPhone)).refused(http.StatusConflict, gateway.CodeAlreadyPaired, "")
}

func TestConnectByCodeSaysThatWhatsAppGaveNone(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	answered := h.connecting(t.Context(), ownPhone)
	h.commanded()
	h.session(fence, showsPhoneCode(ownPhone, ""))
	h.session(fence, givesUp)
	(<-answered).refused(http.StatusBadGateway, gateway.CodeNoPairingCode, "")
	// And then it does.
	answered = h.connecting(t.Context(), ownPhone)
	h.commanded()
	h.session(fence, showsPhoneCode(ownPhone, "ABCD-1234"))
	if got := decode[connectBody]((<-answered).want(http.StatusAccepted)); got.PairingCode == nil {
		t.Errorf("answered %+v", got)
	}
}

func TestWaitForACodeIsBounded(t *testing.T) {
	t.Parallel()
	t.Run("in time", func(t *testing.T) {
		h := newHub(t, func(s *settings) { s.options.CodeWait = 30 * time.Millisecond })
		got := decode[connectBody]((<-h.connecting(t.Context(), ownPhone)).want(http.StatusAccepted))
		if got.State != "unpaired" || got.PairingCode != nil || got.ExpiresAt != nil {
			t.Errorf("without a worker it answers %+v", got)
		}
		h.own()
		if c := h.commanded(); c.Phone != ownPhone {
			t.Errorf("a worker that comes later is asked for %+v", c)
		}
	})
	t.Run("in number", func(t *testing.T) {
		h := newHub(t, func(s *settings) { s.options.MaxStreams = 1 })
		h.own()
		events := h.stream(t.Context(), "/api/algo/session/events")
		next(t, events, "state")
		(<-h.connecting(t.Context(), ownPhone)).refused(http.StatusServiceUnavailable, gateway.CodeTooManyWaiters, "")
		if taken, err := h.store.TakeCommands(t.Context(), "worker-1"); err != nil || len(taken) != 0 {
			t.Errorf("the refused request commands %v, %v", taken, err)
		}
	})
	t.Run("by the end of the server", func(t *testing.T) {
		h := newHub(t)
		h.own()
		answered := h.connecting(t.Context(), ownPhone)
		h.commanded()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		must(t, h.server.Stop(ctx))
		if got := decode[connectBody]((<-answered).want(http.StatusAccepted)); got.PairingCode != nil {
			t.Errorf("answered %+v", got)
		}
	})
}
