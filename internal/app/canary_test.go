package app_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wasim"
)

// TestNoLogHoldsWhatPeopleWriteOrAKey runs an API and a worker as programs at the most talkative level, through sends, refusals, retries,
// a Redis that goes away and a received message, and looks for what only the people and the callers know in all that they printed and tell on the private listener.
func TestNoLogHoldsWhatPeopleWriteOrAKey(t *testing.T) {
	t.Parallel()
	const text, inbound, adminKey, tenantKey = "canary-text-5f1c", "canary-inbound-77aa", "canary-admin-key-0123456789abcdef", "canary-tenant-key-0123456789abcdef"
	sim := testkit.StartSimulator(t)
	server := services.RedisServer(t)
	environ := append(sim.WhatsApp(),
		"DATABASE_URL="+strings.Replace(services.Postgres(t), "//hub@", "//hub:canary-database-password@", 1), "REDIS_URL="+server.URL, "BLOB_URL=file://"+t.TempDir(),
		"ADMIN_API_KEY="+adminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+tenantKey, "LOG_LEVEL=debug")
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
		adminKey, tenantKey, made.Key, "canary-wrong-key",
	}
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
