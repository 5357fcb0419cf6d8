package testkit

import (
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/wa"
)

// PhoneCode is the API's answer to connecting by code.
type PhoneCode struct {
	State       string    `json:"state"`
	PairingCode string    `json:"pairingCode"`
	ExpiresAt   time.Time `json:"expiresAt"`
}

// PhoneCode starts pairing by a code that phone enters, and returns what the API answers.
func (c *Client) PhoneCode(t testing.TB, tenant, phone string) PhoneCode {
	t.Helper()
	var code PhoneCode
	c.JSON(t, http.MethodPost, "/api/"+tenant+"/session/connect", map[string]string{"method": "code", "phone": phone}, http.StatusAccepted, &code)
	return code
}

// EnterCode acts as the phone of number whose user enters a code, and wants this status from the simulator.
func (s *Sandbox) EnterCode(code, number string, want int) {
	s.t.Helper()
	s.client.JSON(s.t, http.MethodPost, "/sandbox/pair", map[string]string{"code": code, "number": number}, want, nil)
}

// WithCodeLifetimes shortens how long the first code of a pairing is valid, and how long each after it.
func WithCodeLifetimes(first, next time.Duration) Option {
	return func(w *World) { w.options.PairTimings = wa.PairTimings{FirstCode: first, NextCodes: next} }
}
