package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/secret"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/webhook"
)

func TestProcessesOfOneHostMakeOneMasterKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), masterKeyFile)
	keys := make([]secret.Key, 8)
	var wait sync.WaitGroup
	for i := range keys {
		wait.Go(func() {
			var err error
			if keys[i], err = keepMasterKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, key := range keys {
		if key != keys[0] || key == (secret.Key{}) {
			t.Error("two processes have two keys")
		}
	}
	if again, err := keepMasterKey(path); err != nil || again != keys[0] {
		t.Errorf("another key after a restart, %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
}

func TestADamagedMasterKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), masterKeyFile)
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keepMasterKey(path); err == nil {
		t.Error("a damaged key was taken or replaced: what it sealed would be lost")
	}
}

// keeping is as much of a hub as keeps secrets, with these settings.
func keeping(t *testing.T, url string, log slog.Handler, settings ...string) *Hub {
	t.Helper()
	cfg, err := config.Load(config.ProcessAPI, append(settings, "DATABASE_URL="+url))
	if err != nil {
		t.Fatal(err)
	}
	h := &Hub{cfg: cfg, log: slog.New(log), egress: egress.New(true)}
	if h.store, err = store.Open(t.Context(), url, store.Options{}); err != nil {
		t.Fatal(err)
	}
	h.database = h.store
	t.Cleanup(func() { _ = h.store.Close() })
	if err := h.openSecrets(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// lines hands on what is logged.
type lines chan string

func (lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l lines) WithGroup(string) slog.Handler          { return l }
func (l lines) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	select {
	case l <- text:
	default:
	}
	return nil
}

// TestAnOldMasterKeyCanBeDropped: a hub that is given another master key, and the one before as a previous one, says when everything is sealed with the
// new one; the next hub has that alone and opens everything.
func TestAnOldMasterKeyCanBeDropped(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		ctx := t.Context()
		first, second := secret.NewKey(), secret.NewKey()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		h := keeping(t, url, slog.DiscardHandler, "MASTER_KEY="+first.Encode())
		tenant, err := h.store.CreateTenant(ctx, "algo", "")
		must(err)
		hooks, address := map[string][2]string{}, "https://example.com/"
		for i := range 5 {
			w, shown, err := h.webhookService().Create(ctx, tenant.Key, gateway.WebhookChange{URL: &address}, "")
			must(err)
			secrets := [2]string{shown}
			if i == 0 { // one that has an old secret too
				_, again, err := h.webhookService().Rotate(ctx, tenant.Key, w.ID, "")
				must(err)
				secrets = [2]string{again, shown}
			}
			hooks[w.ID] = secrets
		}
		receive := func(h *Hub, id string, media *gateway.InboundMedia) {
			t.Helper()
			must(sealed{h.database, h.secrets}.ReceiveInbound(ctx, &gateway.Inbound{
				ID: id, TenantKey: tenant.Key, StanzaID: id, Chat: "15550001111@s.whatsapp.net", Sender: "15550001111@s.whatsapp.net",
				Type: gateway.TypeImage, Media: media, Mentions: []string{"15550002222@s.whatsapp.net"}, At: time.Now(), ReceivedAt: time.Now(),
			}))
		}
		fileKey := func(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, mediaKeySize) }
		const files = 230 // more than two batches
		for i := range files {
			receive(h, fmt.Sprintf("in-%03d", i), &gateway.InboundMedia{MimeType: "image/jpeg", SHA256: "aa", Key: fileKey(i), DirectPath: "/p"})
		}
		receive(h, "in-text", nil)
		receive(&Hub{database: h.store}, "in-bare", &gateway.InboundMedia{Key: fileKey(0)}) // when there was no master key
		must(h.store.Close())

		said := make(lines, 10)
		h = keeping(t, url, said, "MASTER_KEY="+second.Encode(), "MASTER_KEY_PREVIOUS="+first.Encode())
		before, _, err := h.store.SealedSecrets(ctx, gateway.SecretsOfWebhooks, "", 100)
		must(err)
		must(h.startResealing(ctx))
		select {
		case text := <-said:
			if want := fmt.Sprintf("all stored secrets are sealed with MASTER_KEY; once every process has it, MASTER_KEY_PREVIOUS can be dropped resealed=%d", files+6); text != want {
				t.Errorf("it says %q, want %q", text, want)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("it says nothing")
		}
		must(h.stops[0].run(ctx))
		for _, s := range before { // what was replaced is not replaced again
			if n, err := h.store.ReplaceSecrets(ctx, []gateway.ResealedSecret{{SealedSecret: s, New: []byte("lost")}}); n != 0 || err != nil {
				t.Errorf("%s of %s was replaced behind another's back, %v", s.Column, s.Row, err)
			}
		}
		must(h.store.Close())

		h = keeping(t, url, slog.DiscardHandler, "MASTER_KEY="+second.Encode())
		list, err := h.store.Webhooks(ctx, tenant.Key)
		must(err)
		for _, w := range list {
			for i, stored := range [][]byte{w.Secret, w.OldSecret} {
				if hooks[w.ID][i] == "" {
					continue
				}
				plain, err := webhookSecrets{h.secrets}.Open(stored, []string{"secret", "old_secret"}[i], w.ID)
				if want, _ := webhook.ParseSecret(hooks[w.ID][i]); err != nil || !bytes.Equal(plain, want) {
					t.Errorf("secret %d of a webhook is another, %v", i, err)
				}
			}
		}
		for i := range files {
			m, err := h.store.Inbound(ctx, tenant.Key, fmt.Sprintf("in-%03d", i))
			must(err)
			if key, err := openMediaKey(h.secrets, &m); err != nil || !bytes.Equal(key, fileKey(i)) || m.Media.DirectPath != "/p" || len(m.Mentions) != 1 {
				t.Fatalf("the key of file %d is another, %v; %+v", i, err, m)
			}
		}
		if m, err := h.store.Inbound(ctx, tenant.Key, "in-bare"); err != nil || !bytes.Equal(m.Media.Key, fileKey(0)) {
			t.Errorf("a key that was not sealed is %x, %v", m.Media.Key, err)
		}
		if len(list) != len(hooks) {
			t.Errorf("%d webhooks", len(list))
		}
	})
}
