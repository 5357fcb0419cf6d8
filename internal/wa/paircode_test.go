package wa

import (
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// showsCode is a client that shows a code for hubNumber.
func (w *world) showsCode() (*live, gateway.ClientEvent) {
	w.t.Helper()
	l := w.client(w.row)
	if err := l.Pair(w.ctx(), hubNumber); err != nil {
		w.t.Fatal(err)
	}
	code, _ := l.awaitKind(gateway.ClientPairCode, 0)
	return l, code
}

// codes is how many codes were reported.
func (l *live) codes() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Kind == gateway.ClientPairCode {
			n++
		}
	}
	return n
}

func TestNumberIsPairedByCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, code := w.showsCode()
	if !regexp.MustCompile(`^[1-9A-Z]{4}-[1-9A-Z]{4}$`).MatchString(code.Code) || code.Reason != gateway.ReasonEnterCode {
		t.Errorf("the code is %+v", code)
	}
	if left := time.Until(code.Until); left < 100*time.Second || left > 160*time.Second {
		t.Errorf("the code is on show for %s", left)
	}
	wrong := "AAAA-AAAA"
	if err := w.sim.PairCode(w.ctx(), wrong, hubNumber); !errors.Is(err, wasim.ErrWrongCode) {
		t.Errorf("a wrong code: %v", err)
	}
	if err := w.sim.PairCode(w.ctx(), code.Code, hubNumber); err != nil {
		t.Fatal(err)
	}
	paired, _ := l.awaitKind(gateway.ClientPaired, 0)
	l.Disconnect()
	if n := l.codes(); n != 1 {
		t.Errorf("%d codes were shown, QR codes among them", n)
	}
	w.row.JID, w.row.LID = paired.JID, paired.LID
	w.online().sends(text(bob, "paired by code"))
	w.shows(bob, "paired by code")
}

func TestCodeThatNobodyEntersTimesOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.PairTimings = PairTimings{FirstCode: 30 * time.Millisecond, NextCodes: 10 * time.Millisecond}
	})
	l, _ := w.showsCode()
	if failed, _ := l.awaitKind(gateway.ClientPairFailed, 0); failed.Reason != gateway.ReasonPairingTimeout {
		t.Errorf("pairing failed as %s", failed.Reason)
	}
	// The same client may be asked again.
	before := l.seen()
	if err := l.Pair(w.ctx(), hubNumber); err != nil {
		t.Fatal(err)
	}
	l.awaitKind(gateway.ClientPairCode, before)
}

func TestPairingFailsWhenWhatsAppGivesNoCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.sim.Script(wasim.Fault{Kind: wasim.IQError, Match: "pair-code", Code: 429}); err != nil {
		t.Fatal(err)
	}
	l := w.client(w.row)
	if err := l.Pair(w.ctx(), hubNumber); err != nil {
		t.Fatal(err)
	}
	if failed, _ := l.awaitKind(gateway.ClientPairFailed, 0); failed.Reason != gateway.ReasonPairingFailed {
		t.Errorf("pairing failed as %s", failed.Reason)
	}
	if l.codes() != 0 {
		t.Error("a code was shown all the same")
	}
}
