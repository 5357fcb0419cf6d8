package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wapro/hub/internal/wasim"
)

// requestTimeout bounds one request; one that is not answered by then is repeated.
const requestTimeout = 20 * time.Second

// errNobody is returned while no API listens.
var errNobody = errors.New("no API listens")

// client calls an API over HTTP and lets those that listen take turns, as a balancer would.
type client struct {
	key   string
	bases func() []string
	next  atomic.Uint64
	http  *http.Client
}

func newClient(key string, bases func() []string) *client {
	return &client{key: key, bases: bases, http: &http.Client{
		Timeout:   requestTimeout,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute},
	}}
}

// call sends one request and decodes a 2xx answer into out. Every other answer is returned by its status and body.
func (c *client) call(ctx context.Context, method, path string, body, out any, headers ...string) (status int, answer string, err error) {
	bases := c.bases()
	if len(bases) == 0 {
		return 0, "", errNobody
	}
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, "", err
		}
		content = bytes.NewReader(raw)
	}
	base := bases[c.next.Add(1)%uint64(len(bases))]
	req, err := http.NewRequestWithContext(ctx, method, base+path, content)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("x-api-key", c.key)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", fmt.Errorf("read an answer: %w", err)
	}
	if resp.StatusCode/100 == 2 && out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			return resp.StatusCode, string(raw), fmt.Errorf("decode an answer: %w", err)
		}
	}
	return resp.StatusCode, string(raw), nil
}

// message is what a customer knows about one.
type message struct {
	tenant   int
	to, text string
	file     []byte    // a picture, whose caption is the text; nil: there is none
	sha256   string    // of the file
	key      string    // Idempotency-Key
	offered  time.Time // the first request
	accepted time.Time // the first answer that says so; zero when there was none
	requests int
	id       string // ours
	stanza   string // WhatsApp's, as told when it was accepted
}

// inHand bounds how many requests of a tenant wait for their answer.
const inHand = 32

// sendAll offers every tenant's messages evenly over the time given, and returns them when each was accepted.
func (w *world) sendAll(during time.Duration) []*message {
	shares := make([][]*message, w.tenants)
	var senders sync.WaitGroup
	for tenant := range w.tenants {
		count := w.messages / w.tenants
		if tenant < w.messages%w.tenants {
			count++
		}
		senders.Go(func() { shares[tenant] = w.sendShare(tenant, count, during) })
	}
	senders.Wait()
	var all []*message
	for _, share := range shares {
		all = append(all, share...)
	}
	return all
}

func (w *world) sendShare(tenant, count int, during time.Duration) []*message {
	random := rand.New(rand.NewPCG(w.seed, uint64(tenant)+1))
	var share []*message
	var posts sync.WaitGroup
	defer posts.Wait()
	free := make(chan struct{}, inHand)
	for n := range count {
		due := w.epoch.Add(time.Duration(n) * during / time.Duration(count))
		if wait := time.Until(due); wait > 0 && !w.pause(wait) {
			break
		}
		free <- struct{}{}
		m := &message{
			tenant: tenant, to: w.recipient(tenant, random),
			text: fmt.Sprintf("chaos %s %06d", tenantID(tenant), n), key: fmt.Sprintf("chaos-%d-%d-%d", w.seed, tenant, n),
		}
		if random.IntN(100) < pictured {
			m.file = picture(random.IntN(pictures))
			m.sha256 = fmt.Sprintf("%x", sha256.Sum256(m.file))
		}
		share = append(share, m)
		posts.Go(func() {
			w.post(m)
			<-free
		})
	}
	return share
}

// recipient is one of the tenant's ten contacts, or now and then a number that nobody wrote to before, which costs queries. Every
// fourth message goes to a phone whose receipts are late, so that they do not tell at once what an acknowledgement failed to
// tell; a few go to a number that has no account, and should fail.
func (w *world) recipient(tenant int, random *rand.Rand) string {
	draw, contact := random.IntN(100), random.IntN(10)
	select {
	case stranger := <-w.strangers[tenant]:
		return stranger
	default:
	}
	switch {
	case draw < 2:
		return w.stranger()
	case draw < 3:
		return numberThat(wasim.NotOnWhatsApp)
	case draw < 28:
		return numberThat(wasim.SlowReceipts)
	}
	return fmt.Sprintf("9198%06d%02d", tenant, contact)
}

// stranger is a number that nobody wrote to before.
func (w *world) stranger() string { return fmt.Sprintf("9199%08d", w.contacts.Add(1)) }

const (
	pictured = 8  // percent of the messages have a picture
	pictures = 40 // that there are: some are sent again by the same tenant, some by others
)

// picture is a small one that is unlike any other.
func picture(n int) []byte {
	img := image.NewGray(image.Rect(0, 0, 8, 8))
	for i := range img.Pix {
		img.Pix[i] = uint8(n + i)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // into memory
	}
	return b.Bytes()
}

// numberThat is the simulator's test number with that behaviour.
func numberThat(behaves wasim.Behaviour) string {
	for _, n := range wasim.TestNumbers() {
		if n.Behaviour == behaves {
			return n.Number
		}
	}
	panic("the simulator has no number that is " + string(behaves))
}

// post repeats a message under its key until it is accepted, patience is over or the world ends.
func (w *world) post(m *message) {
	m.offered = time.Now()
	pause := 20 * time.Millisecond
	path, body := "/message", map[string]any{"to": m.to, "message": m.text}
	if m.file != nil {
		path = "/media"
		body["media"] = map[string]any{"mimetype": "image/png", "data": m.file}
	}
	for {
		var answer struct {
			ID         string `json:"id"`
			WhatsAppID string `json:"whatsappId"`
		}
		m.requests++
		status, told, err := w.hub.call(w.ctx, http.MethodPost, "/api/"+tenantID(m.tenant)+path, body, &answer, "Idempotency-Key", m.key)
		switch {
		case w.ctx.Err() != nil:
			return
		case err == nil && status == http.StatusAccepted:
			m.accepted, m.id, m.stanza = time.Now(), answer.ID, answer.WhatsAppID
			return
		case err != nil, status >= 500, status == http.StatusTooManyRequests, status == http.StatusConflict:
		default:
			w.t.Errorf("%q was refused: %d %s", m.text, status, told)
			return
		}
		if time.Since(m.offered) > w.patience || !w.pause(pause) {
			w.logf("%q was not accepted after %d requests, the last one answered with %d, %v", m.text, m.requests, status, err)
			return
		}
		pause = min(2*pause, time.Second)
	}
}
