package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wapro/hub/internal/app"
	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wa"
)

// A hub that dies while it receives: the test binary, started again as a hub that kills itself.

// deathEnv is the environment variable that makes the test binary such a hub. It says when it dies: a moment and the stanza id of a message.
const deathEnv = "HUB_DIES"

// moment is when a hub dies.
type moment string

const (
	decrypted moment = "decrypted" // and not stored
	committed moment = "committed" // and not acknowledged
)

func TestMain(m *testing.M) {
	if when, dies := os.LookupEnv(deathEnv); dies {
		fmt.Fprintln(os.Stderr, runUntilDeath(when))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runUntilDeath is the embedded hub of the environment, until it dies. It returns when it cannot.
func runUntilDeath(when string) error {
	at, stanzaID, _ := strings.Cut(when, " ")
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	wa.SetProcessDefaults(log)
	cfg, err := config.Load(config.ProcessAPI, os.Environ())
	if err != nil {
		return err
	}
	hub, err := app.Start(context.Background(), config.ProcessAPI, cfg, app.Options{
		Log: log, Stdout: os.Stdout, Stderr: os.Stderr, Reconnect: 100 * time.Millisecond,
		Database: func(d app.Database) app.Database {
			return &dyingDatabase{Database: d, at: moment(at), stanzaID: stanzaID}
		},
	})
	if err != nil {
		return err
	}
	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends, killed or not
		close(orphaned)
	}()
	select {
	case err = <-hub.Failed():
		return err
	case <-orphaned:
		return errors.New("the test is over")
	}
}

// dyingDatabase is what stands between the rooms and the store.
type dyingDatabase struct {
	app.Database
	at       moment
	stanzaID string
}

// ReceiveInbound is called with what whatsmeow has decrypted, and the message is acknowledged after it.
func (d *dyingDatabase) ReceiveInbound(ctx context.Context, m *gateway.Inbound) error {
	if m.StanzaID == d.stanzaID && d.at == decrypted {
		d.die(ctx, m)
	}
	err := d.Database.ReceiveInbound(ctx, m)
	if m.StanzaID == d.stanzaID && d.at == committed && err == nil {
		d.die(ctx, m)
	}
	return err
}

// die says what is stored of m, and ends the process with SIGKILL.
func (d *dyingDatabase) die(ctx context.Context, m *gateway.Inbound) {
	list, err := d.Inbounds(ctx, m.TenantKey, gateway.InboundFilter{Limit: 10})
	rows := 0
	for _, stored := range list {
		if stored.StanzaID == m.StanzaID {
			rows++
		}
	}
	fmt.Fprintln(os.Stdout, lastWords(d.at, m.StanzaID, m.Text, rows), errorText(err))
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {} // not another instruction of the hub's
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lastWords are what a hub says that dies as planned.
func lastWords(at moment, stanzaID, text string, rows int) string {
	return fmt.Sprintf("dies: %s is %s, %q, %d rows", stanzaID, at, text, rows)
}

// die starts a hub that dies at that moment of the message, waits until it has, and reports what went otherwise.
func die(ctx context.Context, environ []string, at moment, stanzaID, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), deathEnv + "=" + string(at) + " " + stanzaID}, environ...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if _, err := cmd.StdinPipe(); err != nil { // stays open for as long as this process lives
		return err
	}
	err := cmd.Run()

	rows := 0
	if at == committed {
		rows = 1
	}
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL //nolint:forcetypeassert // where there are signals
	if want := lastWords(at, stanzaID, text, rows); !killed || strings.TrimSpace(out.String()) != want {
		return fmt.Errorf("the hub ended with %w after %q, want %q\n%s", err, out.String(), want, log.String())
	}
	return nil
}

// TestAThousandDeathsBetweenDecryptionAndDelivery: a hub is killed by SIGKILL when a message is decrypted, which the ratchet allows once, and its row is
// not written; the next one, given the same message by WhatsApp again, when it is committed and not acknowledged. Each message survives both, is there
// once with its text, and told of by one event. Nobody is asked to send anything again. Under the race detector there are fewer deaths.
func TestAThousandDeathsBetweenDecryptionAndDelivery(t *testing.T) {
	t.Parallel()
	const (
		hubs  = 4 // each with a simulator and a database of its own
		ahead = 2 // messages that wait behind the one that is received
	)
	for i := range hubs {
		t.Run(fmt.Sprintf("hub %d", i), func(t *testing.T) {
			t.Parallel()
			diesOften(t, deaths/hubs/2, ahead)
		})
	}
}

// diesOften has a hub receive so many messages and die twice over each of them.
func diesOften(t *testing.T, messages, ahead int) {
	t.Helper()
	w := testkit.Paired(t, testkit.Embedded())
	w.API.JSON(t, http.MethodGet, "/api/algo/events", nil, http.StatusOK, nil) // from now on there are events
	w.StopHub()

	text := func(i int) string { return fmt.Sprintf("message %03d", i) }
	stanzaIDs := make([]string, 0, messages)
	for i := range messages {
		for len(stanzaIDs) < min(i+1+ahead, messages) {
			stanzaIDs = append(stanzaIDs, w.SendFrom(recipient, object{"to": testkit.OwnNumber, "text": text(len(stanzaIDs))}))
		}
		for _, at := range []moment{decrypted, committed} {
			if err := die(t.Context(), w.Environ(), at, stanzaIDs[i], text(i)); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
	}
	if n := w.Asked(recipient); n != 0 {
		t.Errorf("the sender was asked %d times to send again", n)
	}

	w.StartHub()
	last := w.SendFrom(recipient, object{"to": testkit.OwnNumber, "text": text(messages)}) // what came before it is acknowledged
	stanzaIDs = append(stanzaIDs, last)
	var stored, told []inboundMessage
	testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
		stored, told = allInbound(t, w.API), allTold(t, w)
		return len(stored) > messages && len(told) > messages, fmt.Sprintf("%d are stored and %d told of", len(stored), len(told))
	})
	for what, list := range map[string][]inboundMessage{"stored": stored, "told of": told} {
		if len(list) != len(stanzaIDs) {
			t.Errorf("%d messages are %s, of %d", len(list), what, len(stanzaIDs))
		}
		for i, m := range list {
			if i < len(stanzaIDs) && (m.WhatsAppID != stanzaIDs[i] || m.Message != text(i) || m.From != recipient) {
				t.Errorf("message %d that is %s: %+v, want %s with %q", i, what, m, stanzaIDs[i], text(i))
			}
		}
	}
}

// allTold are the messages of all events message.received, in their order.
func allTold(t *testing.T, w *testkit.World) (list []inboundMessage) {
	t.Helper()
	for after := ""; ; {
		var page struct {
			Data       []struct{ Data inboundMessage }
			NextCursor string
		}
		w.API.JSON(t, http.MethodGet, "/api/algo/events?types=message.received&limit=500"+after, nil, http.StatusOK, &page)
		for _, event := range page.Data {
			list = append(list, event.Data)
		}
		if after = "&after=" + page.NextCursor; len(page.Data) == 0 {
			return list
		}
	}
}
