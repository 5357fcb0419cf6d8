package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// TestRestoredBackupGoesOn makes a backup of a hub that runs, as docs/deploy.md says, lets the hub go on and lose everything, and
// starts another one on the backup: it is the paired device still, what waited then is shown once though it was sent meanwhile, and
// phones show what is sent from then on.
func TestRestoredBackupGoesOn(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]struct {
		url    func(t *testing.T, dir string) string
		backup func(t *testing.T, url, media, to string) (copied string)
	}{
		"sqlite": {
			func(_ *testing.T, dir string) string { return "sqlite://" + filepath.Join(dir, "hub.db") },
			func(t *testing.T, url, media, to string) string {
				t.Helper()
				run(t, []string{"DATABASE_URL=" + url, "BLOB_URL=file://" + media}, testkit.Binary(t, "api"), "backup", to)
				if made, err := os.ReadFile(filepath.Join(filepath.Dir(media), "master.key")); err != nil {
					t.Error(err)
				} else if kept, err := os.ReadFile(filepath.Join(to, "master.key")); err != nil || string(kept) != string(made) {
					t.Errorf("the copy has not the hub's master key: %v", err)
				}
				return "sqlite://" + filepath.Join(to, "hub.db")
			},
		},
		"postgres": {
			func(t *testing.T, _ string) string { return services.Postgres(t) },
			func(t *testing.T, url, media, to string) string {
				t.Helper()
				run(t, nil, "mkdir", to)
				dump, into := filepath.Join(to, "hub.dump"), services.Postgres(t)
				run(t, nil, services.PostgresProgram(t, "pg_dump"), "--format=custom", "--exclude-table-data=whatsmeow_sessions",
					"--exclude-table-data=whatsmeow_sender_keys", "--file="+dump, url)
				run(t, nil, "cp", "-r", media, filepath.Join(to, "media"))
				run(t, nil, services.PostgresProgram(t, "pg_restore"), "--no-owner", "--exit-on-error", "--dbname="+into, dump)
				return into
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			phones, dir, hook := testkit.StartSimulator(t), t.TempDir(), newTold(t)
			environ := func(url, media string) []string {
				key := ""
				if strings.HasPrefix(url, "postgres") { // beside SQLite it is a file
					key = testkit.MasterKey
				}
				return append(phones.WhatsApp(), "MASTER_KEY="+key, "DATABASE_URL="+url, "BLOB_URL=file://"+media, "ADMIN_API_KEY="+testkit.AdminKey, "BOOTSTRAP_TENANT=algo", "EGRESS_ALLOW_PRIVATE=true")
			}
			url, media := database.url(t, filepath.Join(dir, "hub")), filepath.Join(dir, "hub", "media")
			hub := testkit.Run(t, nil, environ(url, media)...)
			admin := testkit.NewClient(testkit.AdminKey, "http://"+hub.Listening("requests"))
			phones.Scan(admin.PairingCode(t, "algo"), testkit.OwnNumber)
			admin.AwaitSession(t, "algo", "online")
			reader := newReader(admin)
			reader.read(t)
			admin.JSON(t, http.MethodPost, "/api/algo/webhooks", object{"url": hook.URL, "events": []string{"*"}}, http.StatusCreated, nil)

			before := admin.Send(t, "algo", recipient, "before the backup")
			admin.AwaitStatus(t, "algo", before.ID, "read")
			admin.JSON(t, http.MethodPost, "/api/algo/queue/pause", nil, http.StatusOK, nil)
			waiting := admin.Send(t, "algo", recipient, "waits at the backup")
			picture := testkit.JPEG(t)
			file := admin.SendMedia(t, "algo", recipient, "a picture waits", "image/jpeg", "picture.jpg", picture)

			copied := filepath.Join(dir, "backup")
			copiedURL := database.backup(t, url, media, copied)

			admin.JSON(t, http.MethodPost, "/api/algo/queue/resume", nil, http.StatusOK, nil)
			admin.AwaitStatus(t, "algo", file.ID, "read")
			lost := admin.Send(t, "algo", recipient, "after the backup")
			admin.AwaitStatus(t, "algo", lost.ID, "read")
			reader.await(t, lost.ID)
			hub.Kill()

			hub = testkit.Run(t, nil, environ(copiedURL, filepath.Join(copied, "media"))...)
			admin = testkit.NewClient(testkit.AdminKey, "http://"+hub.Listening("requests"))
			reader.Client = admin
			admin.AwaitSession(t, "algo", "online")
			admin.JSON(t, http.MethodGet, "/api/algo/messages/"+lost.ID, nil, http.StatusNotFound, nil)
			for _, m := range []testkit.Message{before, waiting, file} {
				if got := admin.Get(t, "algo", m.ID); got.WhatsAppID != m.WhatsAppID || (got.Status == "read") != (m.ID == before.ID) {
					t.Errorf("restored %+v", got)
				}
			}
			admin.JSON(t, http.MethodPost, "/api/algo/queue/resume", nil, http.StatusOK, nil)
			after := admin.Send(t, "algo", recipient, "after the restoration")
			admin.AwaitStatus(t, "algo", after.ID, "read")
			want := []string{"before the backup", "waits at the backup", "a picture waits", "after the backup", "after the restoration"}
			var shown []string
			for _, s := range phones.Shown(recipient) {
				shown = append(shown, s.Text+s.Caption)
			}
			if strings.Join(shown, "; ") != strings.Join(want, "; ") {
				t.Errorf("the phone shows %q, want %q", shown, want)
			}

			// Who reads the events goes on with the place that the old hub gave, and misses none that the new one tells of; an id is that of one event.
			whole := newReader(admin)
			whole.await(t, after.ID)
			reader.await(t, after.ID)
			for id, event := range whole.events {
				if reader.events[id] != event {
					t.Errorf("of %s the reader knows %q", event, reader.events[id])
				}
			}
			hook.await(t, after.ID)
		})
	}
}

// reader is a customer's software that pulls algo's events.
type reader struct {
	*testkit.Client
	cursor string
	events map[string]string // as they were told, by id
	seen   map[string]bool   // messages that it was told were read
}

func newReader(api *testkit.Client) *reader {
	return &reader{Client: api, events: map[string]string{}, seen: map[string]bool{}}
}

// read reads what is new.
func (r *reader) read(t *testing.T) {
	t.Helper()
	for {
		var page struct {
			Data       []json.RawMessage
			NextCursor string
		}
		r.JSON(t, http.MethodGet, "/api/algo/events?after="+r.cursor, nil, http.StatusOK, &page)
		for _, body := range page.Data {
			var event struct {
				ID, Type string
				Data     struct{ MessageID string }
			}
			if err := json.Unmarshal(body, &event); err != nil {
				t.Fatal(err)
			}
			if before, again := r.events[event.ID]; again && before != string(body) {
				t.Errorf("%s was %s and is %s", event.ID, before, body)
			}
			r.events[event.ID] = string(body)
			if event.Type == "message.read" {
				r.seen[event.Data.MessageID] = true
			}
		}
		if r.cursor = page.NextCursor; len(page.Data) == 0 {
			return
		}
	}
}

// await reads until it is told that a message was read.
func (r *reader) await(t *testing.T, messageID string) {
	t.Helper()
	testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
		r.read(t)
		return r.seen[messageID], fmt.Sprintf("of %d events none tells that %s was read", len(r.events), messageID)
	})
}

// run runs a program to its end.
func run(t *testing.T, environ []string, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	if environ != nil {
		cmd.Env = environ
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(program), args, err, out)
	}
}
