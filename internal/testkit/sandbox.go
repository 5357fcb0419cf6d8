package testkit

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/wapro/hub/internal/wasim"
)

// Sandbox talks to a simulator over its /sandbox routes, wherever it runs.
type Sandbox struct {
	t      testing.TB
	client *Client
}

// Shown is what the simulated phone of number shows.
func (s *Sandbox) Shown(number string) []Shown {
	s.t.Helper()
	return s.client.Phone(s.t, number)
}

// WaitShown waits until the phone of number shows n messages, for as long as patience lasts.
func (s *Sandbox) WaitShown(number string, n int) []Shown {
	s.t.Helper()
	var shown []Shown
	Eventually(s.t, patience, func() (bool, string) {
		shown = s.Shown(number)
		return len(shown) >= n, fmt.Sprintf("the phone of %s shows %d messages, want %d", number, len(shown), n)
	})
	return shown
}

// Scan acts as the phone of number that scans a QR code.
func (s *Sandbox) Scan(qr, number string) {
	s.t.Helper()
	s.client.JSON(s.t, http.MethodPost, "/sandbox/pair", map[string]string{"qr": qr, "number": number}, http.StatusOK, nil)
}

// Script scripts a fault; wasim.Fault documents its fields.
func (s *Sandbox) Script(f wasim.Fault) {
	s.t.Helper()
	body := map[string]any{
		"kind": f.Kind, "account": f.Account, "to": f.To, "match": f.Match, "code": f.Code, "conflict": f.Conflict,
		"delayMs": f.Delay.Milliseconds(), "expireSeconds": int(f.Expire.Seconds()), "times": max(f.Times, 0),
	}
	if f.Times == 0 {
		body["times"] = 1 // over HTTP zero means until cleared
	}
	s.client.JSON(s.t, http.MethodPost, "/sandbox/faults", body, http.StatusCreated, nil)
}

// Unfired lists the finite faults that have not happened as often as they were scripted.
func (s *Sandbox) Unfired() []string {
	s.t.Helper()
	var faults struct {
		Data []struct {
			Kind      string `json:"kind"`
			Remaining int    `json:"remaining"`
		} `json:"data"`
	}
	s.client.JSON(s.t, http.MethodGet, "/sandbox/faults", nil, http.StatusOK, &faults)
	var unfired []string
	for _, f := range faults.Data {
		if f.Remaining > 0 {
			unfired = append(unfired, f.Kind)
		}
	}
	return unfired
}

// ClearFaults ends every fault.
func (s *Sandbox) ClearFaults() {
	s.t.Helper()
	s.client.JSON(s.t, http.MethodDelete, "/sandbox/faults", nil, http.StatusNoContent, nil)
}

// AskAgain makes the phone of number ask now for the messages that it was going to ask for later; see wasim.Undecryptable.
func (s *Sandbox) AskAgain(number string) {
	s.t.Helper()
	s.client.JSON(s.t, http.MethodPost, "/sandbox/phones/"+number+"/ask", nil, http.StatusNoContent, nil)
}

// CreateGroup makes a group and returns its JID.
func (s *Sandbox) CreateGroup(owner string, members ...string) string {
	s.t.Helper()
	var group struct {
		JID string `json:"jid"`
	}
	s.client.JSON(s.t, http.MethodPost, "/sandbox/groups", map[string]any{"owner": owner, "members": members, "subject": "a group"}, http.StatusCreated, &group)
	return group.JID
}

// phone is a number that the simulator knows.
type phone struct {
	Number    string `json:"number"`
	Connected bool   `json:"connected"`
	Asked     int    `json:"asked"`
}

// Connected reports whether a device of number is connected.
func (s *Sandbox) Connected(number string) bool {
	s.t.Helper()
	return s.phone(number).Connected
}

// Asked is how often somebody could not decrypt what the phone of number sent, and asked for it again.
func (s *Sandbox) Asked(number string) int {
	s.t.Helper()
	return s.phone(number).Asked
}

// phone is nothing when number was not used yet.
func (s *Sandbox) phone(number string) phone {
	s.t.Helper()
	var phones struct{ Data []phone }
	s.client.JSON(s.t, http.MethodGet, "/sandbox/phones", nil, http.StatusOK, &phones)
	for _, p := range phones.Data {
		if p.Number == number {
			return p
		}
	}
	return phone{}
}

// SendFrom makes the phone of number send what message says; wasim.Outgoing and to are its fields. The stanza id.
func (s *Sandbox) SendFrom(number string, message map[string]any) string {
	s.t.Helper()
	var sent struct{ ID string }
	s.client.JSON(s.t, http.MethodPost, "/sandbox/phones/"+number+"/messages", message, http.StatusCreated, &sent)
	return sent.ID
}
