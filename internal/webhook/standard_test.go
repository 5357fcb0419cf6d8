package webhook_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit/services"
)

// receiverJS is customers' software as docs/webhooks.md shows it: it listens, prints its address, and then what it could verify of each post.
const receiverJS = `import http from 'node:http'
import { Webhook } from 'standardwebhooks'
const hooks = process.argv.slice(2).map(secret => new Webhook(secret))
http.createServer((req, res) => {
  let body = ''
  req.on('data', part => { body += part })
  req.on('end', () => {
    const good = hooks.map(hook => {
      try { return hook.verify(body, req.headers).type } catch (e) { return e.message }
    })
    let forged = 'refused'
    try { hooks[0].verify(body + ' ', req.headers); forged = 'taken' } catch (e) { }
    console.log(JSON.stringify(good) + ' forged ' + forged)
    res.writeHead(204).end()
  })
}).listen(0, '127.0.0.1', function () { console.log('listening ' + this.address().port) })
`

// TestAReceiverOfTheStandardsLibraryVerifiesEveryPost, before, during and after the rotation of the secret.
func TestAReceiverOfTheStandardsLibraryVerifiesEveryPost(t *testing.T) {
	t.Parallel()
	const first, second = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	modules := services.NodeModules(t, "standardwebhooks@1.0.0")
	dir := t.TempDir()
	must(t, os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(dir, "node_modules")))
	must(t, os.WriteFile(filepath.Join(dir, "receiver.mjs"), []byte(receiverJS), 0o600))
	node := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "receiver.mjs"), first, second)
	out, err := node.StdoutPipe()
	must(t, err)
	node.Stderr = testWriter{t}
	must(t, node.Start())
	t.Cleanup(func() { _ = node.Process.Kill(); _ = node.Wait() })
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	line := func() string {
		t.Helper()
		limit := time.NewTimer(patience)
		defer limit.Stop()
		select {
		case text, ok := <-lines:
			if !ok {
				t.Fatal("the receiver has ended")
			}
			return text
		case <-limit.C:
			t.Fatal("the receiver says nothing")
		}
		return ""
	}
	var port int
	if _, err := fmt.Sscanf(line(), "listening %d", &port); err != nil {
		t.Fatal(err)
	}

	w := newWorld(t)
	tenant, err := w.store.CreateTenant(t.Context(), "algo", "")
	must(t, err)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	hook, _, err := w.service.Create(t.Context(), tenant.Key, gateway.WebhookChange{URL: &url}, first)
	must(t, err)
	w.deliver()
	// A change of the secrets may come in the middle of a webhook's turn, whose last posts are signed as its first.
	post := func(good ...string) {
		t.Helper()
		want := `["` + strings.Join(good, `","`) + `"] forged refused`
		var got string
		for range 50 {
			_, err := w.service.Test(t.Context(), tenant.Key, hook.ID)
			must(t, err)
			if got = line(); got == want {
				return
			}
		}
		t.Errorf("verified %s, want %s", got, want)
	}
	post("webhook.test", "No matching signature found")
	_, _, err = w.service.Rotate(t.Context(), tenant.Key, hook.ID, second)
	must(t, err)
	post("webhook.test", "webhook.test")
	_, err = w.store.UpdateWebhook(t.Context(), tenant.Key, hook.ID, func(hook *gateway.Webhook) error {
		hook.OldUntil = w.clock.Now() // a day later; the receiver's own clock would refuse ours
		return nil
	})
	must(t, err)
	post("No matching signature found", "webhook.test")
}
