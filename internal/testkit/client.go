package testkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen: long enough for the race detector on a busy machine.
const patience = 3 * time.Minute

// Client calls a hub's HTTP API as a customer's program would: through a balancer when there are several APIs.
type Client struct {
	Key   string // x-api-key
	HTTP  *http.Client
	bases []string // http://host:port
	next  atomic.Uint64
}

// NewClient makes a client of the APIs at bases, which take turns.
func NewClient(key string, bases ...string) *Client { return &Client{Key: key, bases: bases} }

// WithKey is a client of the same APIs with another key.
func (c *Client) WithKey(key string) *Client { return NewClient(key, c.bases...) }

// Base is the address of the API whose turn it is.
func (c *Client) Base() string { return c.bases[c.next.Add(1)%uint64(len(c.bases))] }

// Message is the API's message, as far as tests look at it.
type Message struct {
	ID            string    `json:"id"`
	TenantID      string    `json:"tenantId"`
	To            string    `json:"to"`
	RecipientJID  string    `json:"recipientJid"`
	Type          string    `json:"type"`
	Status        string    `json:"status"`
	Phase         string    `json:"phase"`
	WhatsAppID    string    `json:"whatsappId"`
	Attempts      int       `json:"attempts"`
	NextAttemptAt time.Time `json:"nextAttemptAt"`
	SentAt        time.Time `json:"sentAt"`
	DeliveredAt   time.Time `json:"deliveredAt"`
	ReadAt        time.Time `json:"readAt"`
	Error         *struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Retryable bool   `json:"retryable"`
	} `json:"error"`
}

// Session is the API's session.
type Session struct {
	State       string    `json:"state"`
	Reason      string    `json:"reason"`
	Hint        string    `json:"hint"`
	JID         string    `json:"jid"`
	Number      string    `json:"number"`
	Since       time.Time `json:"since"`
	Restriction *struct {
		Kind  string    `json:"kind"`
		Until time.Time `json:"until"`
	} `json:"restriction"`
}

// Shown is what a simulated phone shows.
type Shown struct {
	ID       string   `json:"id"`
	From     string   `json:"from"`
	Type     string   `json:"type"`
	Text     string   `json:"text"`
	Caption  string   `json:"caption"`
	Filename string   `json:"filename"`
	MimeType string   `json:"mimetype"`
	SHA256   string   `json:"sha256"`
	Size     int64    `json:"size"`
	Target   string   `json:"target"`
	Quoted   string   `json:"quoted"`
	Edited   string   `json:"edited"`
	Revoked  bool     `json:"revoked"`
	Reaction string   `json:"reaction"`
	Mentions []string `json:"mentions"`
	VCards   []string `json:"vcards"`
	Preview  *struct {
		Link        string `json:"link"`
		Title       string `json:"title"`
		Description string `json:"description"`
		JPEG        []byte `json:"jpeg"`
	} `json:"preview"`
	Location *struct {
		Latitude  float64 `json:"latitude"`
		Longitude float64 `json:"longitude"`
		Name      string  `json:"name"`
		Address   string  `json:"address"`
	} `json:"location"`
	Decrypted []time.Time `json:"decrypted"`
}

// Do sends one request and returns the answer's status, headers and body. A body that is not a []byte or string is
// sent as JSON.
func (c *Client) Do(t testing.TB, method, path string, body any, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	status, header, answer, err := c.do(method, path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, header, answer
}

func (c *Client) do(method, path string, body any, headers ...string) (int, http.Header, []byte, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return 0, nil, nil, err
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, c.Base()+path, reader) //nolint:noctx // the client's timeout bounds it
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("x-api-key", c.Key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := c.HTTP
	if client == nil {
		client = &http.Client{Timeout: patience}
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// JSON sends a request, wants status back, and decodes the answer into out unless out is nil.
func (c *Client) JSON(t testing.TB, method, path string, body any, want int, out any) {
	t.Helper()
	status, _, answer := c.Do(t, method, path, body)
	if status != want {
		t.Fatalf("%s %s: got %d, want %d: %s", method, path, status, want, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
}

// Send posts a text message and returns the accepted message.
func (c *Client) Send(t testing.TB, tenant, to, text string) Message {
	t.Helper()
	var m Message
	c.JSON(t, http.MethodPost, "/api/"+tenant+"/message", map[string]string{"to": to, "message": text}, http.StatusAccepted, &m)
	return m
}

// Get reads a message.
func (c *Client) Get(t testing.TB, tenant, id string) Message {
	t.Helper()
	var m Message
	c.JSON(t, http.MethodGet, "/api/"+tenant+"/messages/"+id, nil, http.StatusOK, &m)
	return m
}

// Await polls a message until accept likes it, for at most d.
func (c *Client) Await(t testing.TB, tenant, id string, d time.Duration, what string, accept func(Message) bool) Message {
	t.Helper()
	var m Message
	Eventually(t, d, func() (bool, string) {
		m = c.Get(t, tenant, id)
		return accept(m), fmt.Sprintf("message %s should be %s, is %+v (error %+v)", id, what, m, m.Error)
	})
	return m
}

// AwaitStatus polls a message until it has that status.
func (c *Client) AwaitStatus(t testing.TB, tenant, id, status string) Message {
	t.Helper()
	return c.Await(t, tenant, id, patience, status, func(m Message) bool { return m.Status == status })
}

// Session reads a tenant's session.
func (c *Client) Session(t testing.TB, tenant string) Session {
	t.Helper()
	var s Session
	c.JSON(t, http.MethodGet, "/api/"+tenant+"/session", nil, http.StatusOK, &s)
	return s
}

// Waiting is how many messages of a tenant wait for their turn.
func (c *Client) Waiting(t testing.TB, tenant string) int {
	t.Helper()
	var session struct {
		Queue struct{ High, Normal, Bulk int } `json:"queue"`
	}
	c.JSON(t, http.MethodGet, "/api/"+tenant+"/session", nil, http.StatusOK, &session)
	return session.Queue.High + session.Queue.Normal + session.Queue.Bulk
}

// AwaitSession polls a session until it has that state.
func (c *Client) AwaitSession(t testing.TB, tenant, state string) Session {
	t.Helper()
	var s Session
	Eventually(t, patience, func() (bool, string) {
		s = c.Session(t, tenant)
		return s.State == state, fmt.Sprintf("session of %s should be %s, is %+v", tenant, state, s)
	})
	return s
}

// Phone reads what a simulated phone shows; the client's key must be the admin key.
func (c *Client) Phone(t testing.TB, number string) []Shown {
	t.Helper()
	var answer struct {
		Data []Shown `json:"data"`
	}
	c.JSON(t, http.MethodGet, "/sandbox/phones/"+number+"/messages", nil, http.StatusOK, &answer)
	return answer.Data
}

// Eventually calls check until it is true, and fails the test with its last words after d.
func Eventually(t testing.TB, d time.Duration, check func() (ok bool, state string)) {
	t.Helper()
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state := check()
		if ok {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("after %s: %s", d, state)
		case <-tick.C:
		}
	}
}

// Events returns the statuses of a message's history, oldest first, each once.
func (c *Client) Events(t testing.TB, tenant, id string) []string {
	t.Helper()
	var answer struct {
		Data []struct {
			Status string `json:"status"`
		} `json:"data"`
	}
	c.JSON(t, http.MethodGet, "/api/"+tenant+"/messages/"+id+"/events", nil, http.StatusOK, &answer)
	var statuses []string
	for _, e := range answer.Data {
		if len(statuses) == 0 || statuses[len(statuses)-1] != e.Status {
			statuses = append(statuses, e.Status)
		}
	}
	return statuses
}

// PairingCode starts pairing over the API and returns the first QR text.
func (c *Client) PairingCode(t testing.TB, tenant string) string {
	t.Helper()
	c.JSON(t, http.MethodPost, "/api/"+tenant+"/session/connect", map[string]string{"method": "qr"}, http.StatusAccepted, nil)
	var code string
	Eventually(t, patience, func() (bool, string) {
		status, _, answer := c.Do(t, http.MethodGet, "/api/"+tenant+"/session/qr", nil, "Accept", "application/json")
		var qr struct {
			Code string `json:"code"`
		}
		if status == http.StatusOK && json.Unmarshal(answer, &qr) == nil {
			code = qr.Code
		}
		return code != "", fmt.Sprintf("no QR code: %d %s", status, answer)
	})
	return code
}

// SendMedia sends a file and returns the accepted message.
func (c *Client) SendMedia(t testing.TB, tenant, to, caption, mimetype, filename string, content []byte) Message {
	t.Helper()
	file := map[string]any{"mimetype": mimetype, "data": content} // encoding/json writes []byte as base64
	if filename != "" {
		file["filename"] = filename
	}
	body := map[string]any{"to": to, "media": file}
	if caption != "" {
		body["message"] = caption
	}
	var m Message
	c.JSON(t, http.MethodPost, "/api/"+tenant+"/media", body, http.StatusAccepted, &m)
	return m
}
