package wasim_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

// TestLoginFaults logs in again right after each refused login, when whatsmeow may still be closing the socket before.
func TestLoginFaults(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	login := func(f wasim.Fault) {
		t.Helper()
		c.hangUp()
		c.forget()
		script(t, s, f)
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
	}
	login(wasim.Fault{Kind: wasim.LoginFailure, Account: alice, Code: 402, Expire: time.Minute})
	if ban := await[*events.TemporaryBan](c, nil); ban.Expire != time.Minute {
		t.Errorf("banned: %+v", ban)
	}
	c.awaitClosed()
	login(wasim.Fault{Kind: wasim.LoginFailure, Code: 405})
	await[*events.ClientOutdated](c, nil)
	c.awaitClosed()
	login(wasim.Fault{Kind: wasim.LoginFailure, Code: 409})
	if failed := await[*events.ConnectFailure](c, nil); failed.Reason != 409 {
		t.Errorf("refused: %+v", failed)
	}
	c.awaitClosed()
	for _, code := range []int{500, 503} {
		login(wasim.Fault{Kind: wasim.LoginFailure, Code: code})
		await[*events.Connected](c, nil) // by itself
	}
	login(wasim.Fault{Kind: wasim.DelaySuccess, Delay: 300 * time.Millisecond})
	started := time.Now()
	await[*events.Connected](c, nil)
	if took := time.Since(started); took < 200*time.Millisecond {
		t.Errorf("success came after %s", took)
	}
	c.hangUp()
	for _, code := range []int{429, 503} {
		script(t, s, wasim.Fault{Kind: wasim.UpgradeError, Code: code})
		if err := c.Connect(); err == nil || !strings.Contains(err.Error(), strconv.Itoa(code)) {
			t.Errorf("connecting: %v", err)
		}
	}
	login(wasim.Fault{Kind: wasim.LoginFailure, Code: 401})
	if out := await[*events.LoggedOut](c, nil); !out.OnConnect {
		t.Errorf("logged out: %+v", out)
	}
	c.awaitClosed()
}
