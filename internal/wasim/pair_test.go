package wasim_test

import (
	"errors"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

func TestPairingAcceptsEveryFormOfTheCode(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	for name, form := range map[string]func(string) string{
		"with its URL": func(qr string) string { return qr },
		"bare": func(qr string) string {
			_, after, _ := strings.Cut(qr, "#")
			return after
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s)
			c.Store.Container = c.container // with all its one-time keys
			c.connect()
			qr := await[*events.QR](c, nil)
			if len(qr.Codes) != 6 {
				t.Errorf("%d codes", len(qr.Codes))
			}
			if err := s.Pair(testCtx(t), form(qr.Codes[3]), "+49 151 10000001"); err != nil {
				t.Fatal(err)
			}
			paired := await[*events.PairSuccess](c, nil)
			if paired.ID.User != alice || paired.ID.Device == 0 || paired.LID.Device != paired.ID.Device {
				t.Errorf("paired as %s, %s", paired.ID, paired.LID)
			}
			await[*events.Connected](c, nil)
			if !s.Connected(alice) {
				t.Error("the simulator does not know the connection")
			}
		})
	}
}

func TestPairingRefusesCodesNobodyShows(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := newClient(t, s)
	c.connect()
	qr := await[*events.QR](c, nil).Codes[0]
	_, parts, _ := strings.Cut(qr, "#")
	ref, rest, _ := strings.Cut(parts, ",")
	if err := s.Pair(testCtx(t), "2@unknown,"+rest, alice); !errors.Is(err, wasim.ErrUnknownQR) {
		t.Errorf("an unknown reference: %v", err)
	}
	for _, bad := range []string{"", "nonsense", ref + ",AAAA,AAAA,AAAA,1", qr[:len(qr)-60]} {
		if err := s.Pair(testCtx(t), bad, alice); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if err := s.Pair(testCtx(t), qr, "12025550101"); err == nil {
		t.Error("a number that is not on WhatsApp was paired")
	}
	if err := s.Pair(testCtx(t), qr, alice); err != nil {
		t.Errorf("the right code after all that: %v", err)
	}
}

func TestLogoutUnlinksTheDevice(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	copied := *c.Store // Logout deletes the store's identity
	id := *c.Store.ID
	copied.ID = &id
	if err := c.Logout(testCtx(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitConnected(testCtx(t), alice, false); err != nil {
		t.Fatal(err)
	}
	again := newClient(t, s)
	copied.Container = again.Store.Container
	again.Client = whatsmeow.NewClient(&copied, nil)
	again.use(s.Addr())
	again.connect()
	out := await[*events.LoggedOut](again, nil)
	if !out.OnConnect || out.Reason != events.ConnectFailureLoggedOut {
		t.Errorf("login after logout: %+v", out)
	}
	again.awaitClosed()
}

func TestSecondLoginReplacesTheFirst(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	other := &client{t: t, container: c.container, changed: make(chan struct{})}
	store, err := c.container.GetDevice(testCtx(t), *c.Store.ID)
	if err != nil {
		t.Fatal(err)
	}
	other.Client = whatsmeow.NewClient(store, nil)
	other.use(s.Addr())
	t.Cleanup(other.hangUp)
	other.connect()
	await[*events.StreamReplaced](c, nil)
	c.awaitClosed()
	await[*events.Connected](other, nil)
	other.sendText(pn(bob), "from the second")
	waitShown(t, s, bob, 1)
}
