package app_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wasim"
)

// canaryURLs calls what customers name: webhooks that answer, refuse and are not there, files and pages likewise, each by a URL with a token. It returns
// the secrets that the webhooks sign with.
func canaryURLs(t *testing.T, client *testkit.Client, text string) (secrets []string) {
	t.Helper()
	customer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/canary-path/file":
			_, _ = w.Write([]byte("a plain file"))
		case "/canary-path/page":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<title>canary-page-title</title>"))
		case "/canary-path/taken":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(customer.Close)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	named := func(base, path string) string { return base + "/canary-path/" + path + "?token=canary-token" }

	hooks := map[string]string{} // by id: what the log of deliveries is to say
	for url, outcome := range map[string]string{
		named(customer.URL, "taken"): "delivered", named(customer.URL, "refused"): "retry", named(dead.URL, ""): "retry", named("http://canary-host.invalid", ""): "retry",
	} {
		secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("canary-webhook-"+strings.Repeat("s", 9+len(hooks))))
		var hook struct{ ID string }
		client.JSON(t, http.MethodPost, "/api/algo/webhooks", map[string]any{"url": url, "events": []string{"*"}, "secret": secret}, http.StatusCreated, &hook)
		hooks[hook.ID] = outcome
		var rotated struct{ Secret string }
		client.JSON(t, http.MethodPost, "/api/algo/webhooks/"+hook.ID+"/rotate", nil, http.StatusOK, &rotated)
		secrets = append(secrets, strings.TrimPrefix(secret, "whsec_"), strings.TrimPrefix(rotated.Secret, "whsec_"))
	}
	client.Do(t, http.MethodPost, "/api/algo/webhooks", map[string]any{"url": "http://canary-token@canary-host.invalid/canary-path", "secret": "canary-token"})

	send := func(path string, body map[string]any) string {
		t.Helper()
		if !strings.HasSuffix(path, "/edit") {
			body["to"] = recipient
		}
		var m testkit.Message
		client.JSON(t, http.MethodPost, "/api/algo"+path, body, http.StatusAccepted, &m)
		return m.ID
	}
	file := func(url string) map[string]any {
		return map[string]any{"message": text, "media": map[string]string{"url": url, "mimetype": "text/plain"}}
	}
	sent := send("/media", file(named(customer.URL, "file")))
	client.AwaitStatus(t, "algo", sent, "read")
	client.AwaitStatus(t, "algo", send("/messages/"+sent+"/edit", map[string]any{"message": "canary-edited"}), "read")
	client.AwaitStatus(t, "algo", send("/media", file(named(customer.URL, "gone"))), "failed")
	client.Await(t, "algo", send("/media", file(named(dead.URL, ""))), 90*time.Second, "an attempt", func(m testkit.Message) bool { return m.Error != nil })
	client.Do(t, http.MethodPost, "/api/algo/media", map[string]any{"to": recipient, "media": map[string]string{"url": "ftp://canary-host/canary-path"}})
	for _, url := range []string{named(customer.URL, "page"), named(customer.URL, "gone"), named(dead.URL, ""), "http://canary-host.invalid/canary-path"} {
		client.AwaitStatus(t, "algo", send("/message", map[string]any{"message": text + " " + url, "linkPreview": true}), "read")
	}
	for id, want := range hooks {
		testkit.Eventually(t, 90*time.Second, func() (bool, string) {
			var log struct{ Data []struct{ Outcome string } }
			client.JSON(t, http.MethodGet, "/api/algo/webhooks/"+id+"/deliveries", nil, http.StatusOK, &log)
			return len(log.Data) > 0 && log.Data[0].Outcome == want, fmt.Sprintf("deliveries %+v, want %s", log.Data, want)
		})
	}
	return secrets
}

// TestNoLogHoldsWhatPeopleWriteOrAKey runs an API and a worker as programs at the most talkative level, through sends, refusals, retries,
// a Redis that goes away and a received message, and looks for what only the people and the callers know in all that they printed and tell on the private listener.
func TestNoLogHoldsWhatPeopleWriteOrAKey(t *testing.T) {
	t.Parallel()
	const text, inbound, adminKey, tenantKey = "canary-text-5f1c", "canary-inbound-77aa", "canary-admin-key-0123456789abcdef", "canary-tenant-key-0123456789abcdef"
	const masterKey = "canary-master-key-0123456789abcd" // 32 bytes
	sim := testkit.StartSimulator(t)
	server := services.RedisServer(t)
	environ := append(sim.WhatsApp(),
		"DATABASE_URL="+strings.Replace(services.Postgres(t), "//hub@", "//hub:canary-database-password@", 1), "REDIS_URL="+server.URL, "BLOB_URL=file://"+t.TempDir(),
		"ADMIN_API_KEY="+adminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+tenantKey, "LOG_LEVEL=debug",
		"MASTER_KEY="+base64.StdEncoding.EncodeToString([]byte(masterKey)), "EGRESS_ALLOW_PRIVATE=true")
	api, worker := testkit.RunProgram(t, "api", nil, environ...), testkit.RunProgram(t, "worker", nil, environ...)
	client := testkit.NewClient(tenantKey, "http://"+api.Listening("requests"))
	admin := testkit.NewClient(adminKey, "http://"+api.Listening("requests"))
	var made struct {
		Key string `json:"key"`
	}
	admin.JSON(t, http.MethodPost, "/admin/tenants/algo/keys", map[string]string{"name": "canary"}, http.StatusCreated, &made)
	sim.Scan(admin.PairingCode(t, "algo"), testkit.OwnNumber)
	admin.AwaitSession(t, "algo", "online")

	// What goes well, what is retried, what fails, what is refused.
	file := []byte("%PDF-1.4 canary-bytes-91e0")
	sim.Script(wasim.Fault{Kind: wasim.AckError, Code: 500, Times: 1})
	sim.Script(wasim.Fault{Kind: wasim.UploadError, Code: 500, Times: 1})
	client.AwaitStatus(t, "algo", client.Send(t, "algo", recipient, text).ID, "read")
	client.AwaitStatus(t, "algo", client.Send(t, "algo", "12025550101", text).ID, "failed")
	client.AwaitStatus(t, "algo", client.SendMedia(t, "algo", recipient, text, "application/pdf", "canary-file-name.pdf", file).ID, "read")
	bulk := map[string]any{"message": text + " {{name}}", "recipients": []map[string]any{{"to": recipient, "vars": map[string]string{"name": "canary-variable"}}, {"to": "canary-nobody"}}, "onInvalid": "skip"}
	client.JSON(t, http.MethodPost, "/api/algo/bulk", bulk, http.StatusAccepted, nil)
	for _, body := range []string{`{"to":"1","message":"` + text + `"}`, `{"to":"` + recipient + `","message":"` + text + `","x":1}`, `{"message":"` + text, text} {
		client.Do(t, http.MethodPost, "/api/algo/message", body)
	}
	client.Do(t, http.MethodPost, "/api/algo/media", map[string]any{"to": recipient, "media": map[string]string{"mimetype": "image/jpeg", "data": base64.StdEncoding.EncodeToString(file)}})
	client.Do(t, http.MethodGet, "/api/other/session", nil)
	testkit.NewClient("canary-wrong-key", client.Base()).Do(t, http.MethodGet, "/api/algo/session", nil)
	client.WithKey(made.Key).Do(t, http.MethodGet, "/api/algo/messages?reference="+text, nil)
	sim.SendFrom(recipient, map[string]any{"to": testkit.OwnNumber, "text": inbound})
	sim.SendFrom(recipient, map[string]any{"to": testkit.OwnNumber, "text": "canary-inbound-caption", "media": map[string]any{"mimetype": "image/png", "data": []byte("canary-inbound-file")}})
	for _, m := range awaitInbound(t, client, 2) {
		client.Do(t, http.MethodGet, "/api/algo/inbound/"+m.ID+"/media", nil)
	}
	hookSecrets := canaryURLs(t, client, text)

	// Without Redis, and with a session that is cut off in the middle of a send.
	server.Stop()
	waits := client.Send(t, "algo", recipient, text)
	server.Start(t)
	sim.Script(wasim.Fault{Kind: wasim.DropAfterAccept, Times: 1})
	client.AwaitStatus(t, "algo", client.Send(t, "algo", recipient, text).ID, "read")
	client.AwaitStatus(t, "algo", waits.ID, "read")

	told := map[string]string{}
	for name, p := range map[string]*testkit.Process{"api": api, "worker": worker} {
		for _, path := range []string{"/debug/pprof/cmdline", "/metrics", "/readyz", "/debug/pprof/goroutine?debug=2"} {
			told[name+path] = testkit.GetOps(t, p.Listening("operations"), path)
		}
		p.Terminate(90 * time.Second)
		told[name] = p.Stderr() + p.Stdout()
	}
	secrets := []string{
		text, inbound, "canary-bytes", base64.StdEncoding.EncodeToString(file)[8:24], "canary-file-name", "canary-variable", "canary-database-password",
		adminKey, tenantKey, made.Key, "canary-wrong-key", masterKey, base64.StdEncoding.EncodeToString([]byte(masterKey)),
		"canary-inbound-caption", "canary-inbound-file", "canary-path", "canary-token", "canary-host", "canary-page-title", "canary-edited",
	}
	secrets = append(secrets, hookSecrets...)
	for where, printed := range told {
		for _, secret := range secrets {
			if at := strings.Index(printed, secret); at >= 0 {
				line := printed[strings.LastIndexByte(printed[:at], '\n')+1:]
				line, _, _ = strings.Cut(line, "\n")
				t.Errorf("%s tells %q: %.600s", where, secret, line)
			}
		}
	}
	// The logs are those of this run, and say which message and which request they are about.
	for where, want := range map[string][]string{
		"worker": {waits.ID, `"level":"DEBUG"`, `"messageId"`}, "api": {`"requestId"`, `"level":"DEBUG"`, "/api/:tenantId/message"},
	} {
		for _, w := range want {
			if !strings.Contains(told[where], w) {
				t.Errorf("the log of the %s does not hold %s", where, w)
			}
		}
	}
}
