package webui_test

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// findPython prints the interpreter that has the requests module: Debian's package installs it for its own.
const findPython = "for p in python3 /usr/bin/python3; do $p -c 'import requests' 2>/dev/null && echo $p && exit 0; done; exit 1"

// interpreters are what runs samples, by the name of their language.
type interpreters struct {
	commands map[string]string
	environ  []string
}

func newInterpreters(t *testing.T) interpreters {
	t.Helper()
	axios := services.NodeModules(t, "axios@1")
	services.Tool(t, []string{"sh", "-c", findPython}, "python3", "python3-requests")
	python, err := exec.CommandContext(t.Context(), "sh", "-c", findPython).Output()
	if err != nil {
		t.Fatal(err)
	}
	services.Tool(t, []string{"php", "-r", "exit(extension_loaded('curl') ? 0 : 1);"}, "php-cli", "php-curl")
	services.Tool(t, []string{"curl", "--version"}, "curl")
	return interpreters{
		commands: map[string]string{"node": "node", "python": strings.TrimSpace(string(python)), "php": "php", "curl": "bash"},
		environ:  append(os.Environ(), "NODE_PATH="+filepath.Join(axios, "node_modules")),
	}
}

func (i interpreters) command(ctx context.Context, dir, language, file string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, i.commands[language], file)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, i.environ, 5*time.Second
	return cmd
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEverySampleOfTheDocumentationRunsAsItIsCopied is a developer's first minute: sign in, get a token, copy each sample with its
// button, run it as it is. The language and the channel stay chosen; the phone shows every message.
func TestEverySampleOfTheDocumentationRunsAsItIsCopied(t *testing.T) {
	t.Parallel()
	run := newInterpreters(t)
	tab := window(t, adminKey)
	_, admin := site(t)
	tab.AllowClipboard()
	tab.Open("/docs")
	tab.Select("#channel", "algo")
	tab.Click("a[data-channel-path]") // Get Token
	tab.UntilPath("/channels/algo/keys")
	tab.Fill("#key-name", "samples")
	tab.Click("#create-key button.primary")
	tab.Until("the new key", `document.querySelector('#new-key-secret').textContent.startsWith('wah_')`)
	token := tab.Text("#new-key-secret")

	work := t.TempDir()
	writeFile(t, work, "file.pdf", "%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
	writeFile(t, work, "file.jpg", string(testkit.JPEG(t)))
	for _, language := range []string{"node", "python", "php", "curl"} {
		tab.Open("/docs")
		tab.Select("#language", language)
		tab.Open("/docs") // it is remembered
		for _, operation := range []string{"postMessage", "postMedia"} {
			name := operation + "-" + language
			tab.Until(name+" on show", fmt.Sprintf(`document.querySelector('#%s').checkVisibility()`, name))
			tab.Click("#" + name + " .copy")
			tab.Until(name+" copied", fmt.Sprintf(`document.querySelector('#%s .copy').dataset.copied === 'yes'`, name)) // its word goes again soon
			copied := tab.Clipboard()
			var shown string
			tab.Eval(fmt.Sprintf(`document.querySelector('#%s pre').textContent`, name), &shown)
			if copied != shown || !strings.Contains(copied, token) || !strings.Contains(copied, shared.base+"/api/algo/") {
				t.Fatalf("%s: copied is\n%s\nshown is\n%s", name, copied, shown)
			}
			out, err := run.command(t.Context(), work, language, writeFile(t, work, name, copied)).CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("queued")) {
				t.Fatalf("%s: %v: %s", name, err, out)
			}
		}
	}
	want := []string{
		"Hello from Node.js!", "Hello from Python!", "Hello from PHP!", "Hello from cURL!",
		"Check out this document!", "Here is the file", "Image from PHP", "A file from cURL",
	}
	testkit.Eventually(t, 90*time.Second, func() (bool, string) {
		shown := map[string]int{}
		for _, m := range admin.Phone(t, "919876543210") {
			shown[m.Text+m.Caption]++
		}
		for _, text := range want {
			if shown[text] != 1 {
				return false, fmt.Sprintf("the phone shows %q %d times; all: %v", text, shown[text], shown)
			}
		}
		return true, ""
	})
}

// TestTryItSendsAndShowsTheStatusMove presses the button of the documentation.
func TestTryItSendsAndShowsTheStatusMove(t *testing.T) {
	t.Parallel()
	tab := window(t, "")
	tab.Open("/docs")
	tab.Fill("#try-to", "919876540001")
	tab.Fill("#try-message", "tried from the page")
	tab.Fill("#try-key", "wah_wrong")
	tab.Click("[data-try] .primary")
	tab.UntilText("[data-try] [data-error]", "unauthorized")
	tab.Fill("#try-key", algoKey)
	tab.Click("[data-try] .primary")
	tab.Until("the message read", `[...document.querySelectorAll('[data-timeline] .state')].at(-1)?.textContent === 'read'`)
	if text := tab.Text("[data-timeline]"); !strings.Contains(text, "queued") || !strings.Contains(text, "sending") {
		t.Errorf("the timeline shows %s", text)
	}
	if text := tab.Text("[data-answer]"); !strings.Contains(text, `"status": "read"`) {
		t.Errorf("the answer shows %s", text)
	}
}

// TestLanguagesAreChosenWithTheKeyboard: the arrow keys walk from one language to the next, in every sample at once, and round.
func TestLanguagesAreChosenWithTheKeyboard(t *testing.T) {
	t.Parallel()
	tab := window(t, "")
	tab.Open("/docs?lang=php")
	tab.Eval(`document.querySelector('#postMedia-php-tab').focus()`, nil)
	for _, want := range []string{"curl", "node", "python"} {
		tab.Press(kb.ArrowRight)
		tab.Until(want+" on show", fmt.Sprintf(`document.activeElement.id === 'postMedia-%[1]s-tab' && document.activeElement.getAttribute('aria-selected') === 'true' &&
			[...document.querySelectorAll('.sample')].filter((s) => s.checkVisibility()).every((s) => s.dataset.lang === '%[1]s')`, want))
	}
	var order []string
	tab.Eval(`[...document.querySelectorAll('[role=tab]')].filter((b) => b.tabIndex === 0).map((b) => b.id)`, &order)
	if want := []string{"postMessage-python-tab", "postMedia-python-tab"}; !slices.Equal(order, want) {
		t.Errorf("the tab key stops at %v, want %v", order, want)
	}
}

var (
	codeBlock = regexp.MustCompile(`(?s)<div class="code sample"[^>]* data-lang="(\w+)">.*?<pre[^>]*><code>(.*?)</code></pre>`)
	markup    = regexp.MustCompile(`<[^>]*>`)
	operation = regexp.MustCompile(`href="/docs/reference/(\w+)"`)
)

// shownCode is what a page shows in each language.
func shownCode(t *testing.T, c *testkit.Client, path string) map[string]string {
	t.Helper()
	status, _, page := c.Do(t, http.MethodGet, path, nil, "Accept", "text/html")
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d", path, status)
	}
	shown := map[string]string{}
	for _, m := range codeBlock.FindAllSubmatch(page, -1) {
		shown[string(m[1])] = html.UnescapeString(markup.ReplaceAllString(string(m[2]), ""))
	}
	return shown
}

// TestEverySnippetOfTheReferenceRuns runs the call that the reference shows of each operation, in four languages, against a hub of its
// own: only the key, ids and numbers are filled in, as a reader would. Each is answered with a success that the description names.
func TestEverySnippetOfTheReferenceRuns(t *testing.T) {
	t.Parallel()
	run := newInterpreters(t)
	dir := t.TempDir()
	hub := testkit.Run(t, nil, "SANDBOX=true", "DATABASE_URL=sqlite://"+filepath.Join(dir, "hub.db"),
		"BLOB_URL=file://"+filepath.Join(dir, "media"), "ADMIN_API_KEY="+adminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+algoKey)
	hub.Printed("admin key")
	admin := testkit.NewClient(adminKey, "http://"+hub.Listening("requests"))

	tenants := 0
	tenant := func() string { // another one, unpaired
		tenants++
		id := "snippet-" + strconv.Itoa(tenants)
		admin.JSON(t, http.MethodPost, "/admin/tenants", map[string]string{"id": id}, http.StatusCreated, nil)
		return id
	}
	delivered := func() string { // from the channel that has a phone
		id := admin.Send(t, "algo", "919000000006", "on its way").ID
		admin.AwaitStatus(t, "algo", id, "read")
		return id
	}
	receivedID := func(file string) string { // of a message that a phone sends now
		message := map[string]any{"to": "15550009999", "text": "from a phone"}
		if file != "" {
			message["media"] = map[string]any{"mimetype": "image/png", "data": []byte(file)}
		}
		var sent struct{ ID string }
		admin.JSON(t, http.MethodPost, "/sandbox/phones/919000000007/messages", message, http.StatusCreated, &sent)
		id := ""
		testkit.Eventually(t, 90*time.Second, func() (bool, string) {
			var list struct {
				Data []struct{ ID, WhatsAppID string }
			}
			admin.JSON(t, http.MethodGet, "/api/algo/inbound?limit=200", nil, http.StatusOK, &list)
			for _, m := range list.Data {
				if m.WhatsAppID == sent.ID {
					id = m.ID
				}
			}
			return id != "", "what a phone sent is not received"
		})
		return id
	}
	waiting := func(id string) string { return admin.Send(t, id, "919000000001", "waits for a session").ID }
	newBulk := func(id string, recipients ...string) string {
		var list []map[string]string
		for _, to := range recipients {
			list = append(list, map[string]string{"to": to})
		}
		var b struct{ ID string }
		admin.JSON(t, http.MethodPost, "/api/"+id+"/bulk", map[string]any{"message": "to many", "recipients": list, "maxFailureRate": 1}, http.StatusAccepted, &b)
		return b.ID
	}
	failed := func() string { // what one retry has taken up the next one leaves out
		id := newBulk("algo", "12025550101", "919000000002")
		testkit.Eventually(t, 90*time.Second, func() (bool, string) {
			var b struct{ Status string }
			admin.JSON(t, http.MethodGet, "/api/algo/bulk/"+id, nil, http.StatusOK, &b)
			return b.Status == "finished", "the bulk is " + b.Status
		})
		return id
	}
	// Languages run at the same time: each has a channel of its own, whose messages wait because it has no phone.
	idles := map[string]string{"node": tenant(), "python": tenant(), "php": tenant(), "curl": tenant()}
	idle := ""
	var pairing []string // channels that show a code
	pairs := func() (string, string) {
		id := tenant()
		admin.PairingCode(t, id)
		pairing = append(pairing, id)
		return id, ""
	}
	// What an operation needs; it returns the channel, and the id that stands where the example's is.
	needs := map[string]func() (channel, id string){
		"getMessage":        func() (string, string) { return "algo", admin.Send(t, "algo", "919000000003", "hello").ID },
		"cancelMessage":     func() (string, string) { return idle, waiting(idle) },
		"listMessageEvents": func() (string, string) { return idle, waiting(idle) },
		"retryMessage": func() (string, string) {
			id := waiting(idle)
			admin.JSON(t, http.MethodPost, "/api/"+idle+"/messages/"+id+"/cancel", nil, http.StatusOK, nil)
			return idle, id
		},
		"editMessage":      func() (string, string) { return "algo", delivered() },
		"revokeMessage":    func() (string, string) { return "algo", delivered() },
		"getNumber":        func() (string, string) { return "algo", "" },
		"checkNumbers":     func() (string, string) { return "algo", "" },
		"listJoinedGroups": func() (string, string) { return "algo", "" },
		"getInbound":       func() (string, string) { return "algo", receivedID("") },
		"getInboundMedia":  func() (string, string) { return "algo", receivedID("a file") },
		"connectSession":   func() (string, string) { return tenant(), "" },
		"getSessionQr":     pairs,
		"pairPhone":        pairs,
		"retryBulk":        func() (string, string) { return "algo", failed() },
		"createTenant":     func() (string, string) { tenants++; return "snippet-" + strconv.Itoa(tenants), "" },
		"deleteTenant":     func() (string, string) { return tenant(), "" },
		"deleteKey": func() (string, string) {
			var key struct{ ID string }
			admin.JSON(t, http.MethodPost, "/admin/tenants/"+idle+"/keys", nil, http.StatusCreated, &key)
			return idle, key.ID
		},
		"rotateKey": func() (string, string) {
			var key struct{ ID string }
			admin.JSON(t, http.MethodPost, "/admin/tenants/"+idle+"/keys", nil, http.StatusCreated, &key)
			return idle, key.ID
		},
		"deleteOptOut": func() (string, string) { id := tenant(); optOut(t, admin, id); return id, "" },
		"getOptOut":    func() (string, string) { optOut(t, admin, idle); return idle, "" },
	}
	for _, op := range []string{"getBulk", "pauseBulk", "resumeBulk", "cancelBulk", "getBulkResults", "streamBulkEvents"} {
		needs[op] = func() (string, string) { return idle, newBulk(idle, "919000000004") }
	}

	for _, op := range []string{"getWebhook", "patchWebhook", "deleteWebhook", "rotateWebhook", "testWebhook", "listDeliveries", "replayWebhook"} {
		needs[op] = func() (string, string) {
			var hook struct{ ID string }
			admin.JSON(t, http.MethodPost, "/api/"+idle+"/webhooks", map[string]any{"url": "http://127.0.0.1:65000/"}, http.StatusCreated, &hook)
			return idle, hook.ID
		}
	}

	status, _, page := admin.Do(t, http.MethodGet, "/docs/reference", nil, "Accept", "text/html")
	if status != http.StatusOK {
		t.Fatalf("the reference: %d", status)
	}
	files := map[string][]string{} // by language
	streams := map[string][]string{}
	seen := map[string]bool{}
	example := regexp.MustCompile(`0199f2(?:b[045]|d0)-[0-9a-f-]{27}`)
	for _, m := range operation.FindAllSubmatch(page, -1) {
		op := string(m[1])
		if seen[op] {
			continue
		}
		seen[op] = true
		for _, language := range []string{"node", "python", "php", "curl"} {
			idle = idles[language]
			channel, id := idle, ""
			if need := needs[op]; need != nil {
				channel, id = need()
			}
			source, ok := shownCode(t, admin, "/docs/reference/"+op+"?channel="+channel)[language]
			if !ok {
				continue // planned, or a page without code: counted below
			}
			token := adminKey
			if op == "rotateOwnKey" { // it is a tenant's own
				var key struct{ Key string }
				admin.JSON(t, http.MethodPost, "/admin/tenants/"+idle+"/keys", nil, http.StatusCreated, &key)
				token = key.Key
			}
			source = strings.NewReplacer("YOUR_TOKEN", token, "YOUR_ADMIN_KEY", adminKey, "'algo'", "'"+channel+"'", `"algo"`, `"`+channel+`"`,
				"919876543210", "919000000005", "15550009999", "15550009998").Replace(source)
			if id != "" {
				source = example.ReplaceAllString(source, id)
			}
			suffix := map[string]string{"node": ".mjs", "python": ".py", "php": ".php", "curl": ".sh"}[language]
			path := writeFile(t, dir, op+suffix, source)
			if strings.HasPrefix(op, "stream") {
				streams[language] = append(streams[language], path)
			} else {
				files[language] = append(files[language], path)
			}
		}
	}
	if len(files["node"]) < 40 || len(streams["node"]) < 2 {
		t.Fatalf("%d snippets and %d streams in Node.js", len(files["node"]), len(streams["node"]))
	}
	runners := map[string]string{ // each runs all of its language in one process
		"node":   `import fs from 'node:fs'; for (const f of %s) { fs.writeSync(1, '\n=== ' + f + '\n'); try { await import(f) } catch (e) { console.log(e) } }`,
		"python": "import runpy, traceback\nfor f in %s:\n    print('\\n=== ' + f, flush=True)\n    try:\n        runpy.run_path(f)\n    except Exception:\n        traceback.print_exc()\n",
		"php":    "<?php foreach (%s as $f) { echo \"\\n=== $f\\n\"; include $f; }",
		"curl":   `for f in %s; do echo; echo "=== $f"; bash "$f" 2>/dev/null; done`,
	}
	ran, renewed := make(chan struct{}), make(chan struct{})
	go func() { // codes end after two minutes or so, when it may not be the turn of the snippet that needs one yet
		defer close(renewed)
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			for _, id := range pairing { // changes nothing where a code is on show, or a phone was paired
				admin.Do(t, http.MethodPost, "/api/"+id+"/session/connect", map[string]string{"method": "qr"})
			}
			select {
			case <-tick.C:
			case <-ran:
				return
			}
		}
	}()
	var all sync.WaitGroup
	for language, list := range files {
		all.Go(func() {
			quoted := `["` + strings.Join(list, `", "`) + `"]`
			if language == "curl" {
				quoted = strings.Join(list, " ")
			}
			suffix := map[string]string{"node": ".mjs", "python": ".py", "php": ".php", "curl": ".sh"}[language]
			runner := filepath.Join(dir, "all"+suffix)
			if err := os.WriteFile(runner, fmt.Appendf(nil, runners[language], quoted), 0o600); err != nil {
				t.Error(err)
				return
			}
			out, err := run.command(t.Context(), dir, language, runner).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v", language, err)
			}
			parts := strings.Split("\n"+string(out), "\n=== ")[1:]
			if len(parts) != len(list) {
				t.Errorf("%s ran %d of %d snippets", language, len(parts), len(list))
			}
			for _, part := range parts {
				file, printed, _ := strings.Cut(part, "\n")
				if m := answered.FindStringSubmatch(printed); m == nil || m[1][0] != '2' {
					t.Errorf("%s: %.600s", filepath.Base(file), printed)
				}
			}
		})
		for _, file := range streams[language] {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				cmd := run.command(ctx, dir, language, file)
				out := &firstEvent{seen: cancel}
				cmd.Stdout, cmd.Stderr = out, out
				_ = cmd.Run() // it is killed when the first event has come
				if !out.found() {
					t.Errorf("%s printed no event: %s", filepath.Base(file), out.text())
				}
			})
		}
	}
	all.Wait()
	close(ran)
	<-renewed
}

// answered finds the status in what a snippet prints: "202 {...", or curl's "HTTP/1.1 202 Accepted".
var answered = regexp.MustCompile(`^\s*(?:HTTP/1\.1 )?(\d{3})\b`)

func optOut(t *testing.T, admin *testkit.Client, tenant string) {
	t.Helper()
	admin.JSON(t, http.MethodPost, "/api/"+tenant+"/opt-outs", map[string]any{"recipients": []string{"919000000005"}}, http.StatusOK, nil)
}

// firstEvent is the output of a stream's reader, up to its first event.
type firstEvent struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	seen   func()
}

func (f *firstEvent) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buffer.Write(b)
	if strings.Contains(f.buffer.String(), "event: ") {
		f.seen()
	}
	return len(b), nil
}

func (f *firstEvent) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.buffer.String()
}

func (f *firstEvent) found() bool { return strings.Contains(f.text(), "event: ") }
