package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// TestPairingByCode goes from a tenant without a number to a delivered message, over HTTP alone.
func TestPairingByCode(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Start(t, shape)
		code := w.API.PhoneCode(t, "algo", "+1 (555) 000-9999")
		if len(code.PairingCode) != len("ABCD-1234") || code.State != "pairing" || time.Until(code.ExpiresAt) < time.Minute {
			t.Fatalf("connect answers %+v", code)
		}
		if s := w.API.Session(t, "algo"); s.Reason != "enter_code" || !strings.Contains(s.Hint, "enter the code") {
			t.Errorf("the session is %+v", s)
		}
		if again := w.API.PhoneCode(t, "algo", testkit.OwnNumber); again != code {
			t.Errorf("asked again it answers %+v, before %+v", again, code)
		}
		m := w.API.Send(t, "algo", recipient, "accepted before there is a number")

		w.EnterCode(code.PairingCode, recipient, http.StatusConflict) // another phone
		w.EnterCode(otherThan(code.PairingCode), testkit.OwnNumber, http.StatusUnprocessableEntity)
		if s := w.API.Session(t, "algo"); s.State != "pairing" {
			t.Errorf("after a wrong code the session is %+v", s)
		}
		w.EnterCode(strings.ToLower(code.PairingCode), testkit.OwnNumber, http.StatusOK)
		if s := w.API.AwaitSession(t, "algo", "online"); s.Number != testkit.OwnNumber {
			t.Errorf("online as %q", s.Number)
		}
		w.API.AwaitStatus(t, "algo", m.ID, "read")
		if shown := w.Shown(recipient); len(shown) != 1 || shown[0].From != testkit.OwnNumber || shown[0].Text != "accepted before there is a number" {
			t.Errorf("the phone shows %+v", shown)
		}
		w.API.JSON(t, http.MethodPost, "/api/algo/session/connect", map[string]string{"method": "code", "phone": testkit.OwnNumber}, http.StatusConflict, nil)
	})
}

// TestCodeThatNobodyEntersExpires: the session says so, the phone is told so, and there is another code for the asking.
func TestCodeThatNobodyEntersExpires(t *testing.T) {
	t.Parallel()
	w := testkit.Start(t, testkit.Embedded(), testkit.WithCodeLifetimes(10*time.Second, time.Millisecond))
	code := w.API.PhoneCode(t, "algo", testkit.OwnNumber)
	if s := w.API.AwaitSession(t, "algo", "unpaired"); s.Reason != "pairing_timeout" {
		t.Errorf("the session is %+v", s)
	}
	if time.Now().Before(code.ExpiresAt.Add(-time.Second)) {
		t.Errorf("expired before %s", code.ExpiresAt)
	}
	w.EnterCode(code.PairingCode, testkit.OwnNumber, http.StatusConflict)
	if another := w.API.PhoneCode(t, "algo", testkit.OwnNumber); another.PairingCode == "" || another.PairingCode == code.PairingCode {
		t.Errorf("the next code is %+v", another)
	}
}

// otherThan is a code of the right form that is not this one.
func otherThan(code string) string {
	first := "A"
	if strings.HasPrefix(code, first) {
		first = "B"
	}
	return first + code[1:]
}
