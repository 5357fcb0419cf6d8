package wasim_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

// asksForCode is a new client that shows a code for number.
func asksForCode(t *testing.T, s *wasim.Server, number string) (*client, string) {
	t.Helper()
	c := newClient(t, s)
	c.connect()
	await[*events.QR](c, nil)
	code, err := c.PairPhone(testCtx(t), number, true, whatsmeow.PairClientChrome, "Chrome (Linux)")
	if err != nil {
		t.Fatal(err)
	}
	return c, code
}

// otherThan is a code of the right form that is not this one.
func otherThan(code string) string {
	first := "A"
	if strings.HasPrefix(code, first) {
		first = "B"
	}
	return first + code[1:]
}

func TestPhonePairsByCode(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c, code := asksForCode(t, s, alice)
	if err := s.PairCode(testCtx(t), strings.ToLower(code), "+49 151 10000001"); err != nil {
		t.Fatal(err)
	}
	if paired := await[*events.PairSuccess](c, nil); paired.ID.User != alice || paired.ID.Device == 0 {
		t.Errorf("paired as %s", paired.ID)
	}
	await[*events.Connected](c, nil)
	c.sendText(pn(bob), "paired by code")
	if shown := waitShown(t, s, bob, 1); shown[0].Text != "paired by code" || shown[0].From != alice {
		t.Errorf("bob's phone shows %+v", shown)
	}
	if err := s.PairCode(testCtx(t), code, alice); !errors.Is(err, wasim.ErrNoCodeWanted) {
		t.Errorf("the code a second time: %v", err)
	}
}

func TestWrongCodePairsNothingAndTheRightOneStillDoes(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c, code := asksForCode(t, s, alice)
	for _, wrong := range []string{otherThan(code), "", "short", "ABCD-EFG0"} {
		if err := s.PairCode(testCtx(t), wrong, alice); !errors.Is(err, wasim.ErrWrongCode) {
			t.Errorf("code %q: %v", wrong, err)
		}
	}
	if err := s.PairCode(testCtx(t), code, bob); !errors.Is(err, wasim.ErrNoCodeWanted) {
		t.Errorf("the code on another phone: %v", err)
	}
	if s.Connected(alice) {
		t.Error("a wrong code paired a device")
	}
	if err := s.PairCode(testCtx(t), code, alice); err != nil {
		t.Fatalf("the right code after all that: %v", err)
	}
	await[*events.Connected](c, nil)
}

func TestSecondCodeReplacesTheFirst(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c, first := asksForCode(t, s, alice)
	second, err := c.PairPhone(testCtx(t), alice, true, whatsmeow.PairClientChrome, "Chrome (Linux)")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PairCode(testCtx(t), first, alice); !errors.Is(err, wasim.ErrWrongCode) {
		t.Errorf("the first code: %v", err)
	}
	if err := s.PairCode(testCtx(t), second, alice); err != nil {
		t.Fatal(err)
	}
	await[*events.Connected](c, nil)
}

func TestCodeEndsWithItsClient(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c, code := asksForCode(t, s, alice)
	c.Disconnect()
	if err := s.PairCode(testCtx(t), code, alice); !errors.Is(err, wasim.ErrNoCodeWanted) {
		t.Errorf("a code whose client has gone: %v", err)
	}
}

func TestPhonePairsByCodeOverHTTP(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c, code := asksForCode(t, s, alice)
	enter := func(code, number string, status int) {
		t.Helper()
		call(t, s, http.MethodPost, "/sandbox/pair", `{"code":"`+code+`","number":"`+number+`"}`, status, nil)
	}
	enter(code, bob, http.StatusConflict)
	enter(otherThan(code), alice, http.StatusUnprocessableEntity)
	enter(code, "+"+alice, http.StatusOK)
	await[*events.Connected](c, nil)
	call(t, s, http.MethodPost, "/sandbox/pair", `{"code":"`+code+`","qr":"x","number":"`+alice+`"}`, http.StatusBadRequest, nil)
}

func TestServerRefusesCodesItCannotGive(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := newClient(t, s)
	c.connect()
	await[*events.QR](c, nil)
	ask := func(number, browser string) error {
		t.Helper()
		_, err := c.PairPhone(testCtx(t), number, true, whatsmeow.PairClientChrome, browser)
		return err
	}
	if err := ask("12025550101", "Chrome (Linux)"); !errors.Is(err, whatsmeow.ErrIQNotFound) {
		t.Errorf("a number that is not on WhatsApp: %v", err)
	}
	if err := ask(alice, "WA Pro Hub"); !errors.Is(err, whatsmeow.ErrIQBadRequest) {
		t.Errorf("a client that is no browser: %v", err)
	}
	if _, err := s.Script(wasim.Fault{Kind: wasim.IQError, Match: "pair-code", Account: alice, Code: 429}); err != nil {
		t.Fatal(err)
	}
	if err := ask(alice, "Chrome (Linux)"); !errors.Is(err, whatsmeow.ErrIQRateOverLimit) {
		t.Errorf("asked too often: %v", err)
	}
	if err := ask(alice, "Chrome (Linux)"); err != nil {
		t.Errorf("after all that: %v", err)
	}
}
