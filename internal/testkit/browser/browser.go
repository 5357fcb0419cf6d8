// Package browser drives a real browser in tests: what a person clicks, types and reads, and what the browser itself complains of.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/wapro/hub/internal/testkit/services"
)

// patience is how long something is waited for that must happen: long enough for the race detector on a busy machine.
const patience = 3 * time.Minute

// Browser is a running Chromium.
type Browser struct {
	ctx context.Context //nolint:containedctx // chromedp keeps its state in it
}

// Start starts a Chromium that ends with t; ask needs a test that may be skipped when there is none.
func Start(t, ask testing.TB) *Browser {
	t.Helper()
	path := services.Chromium(ask)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en-US"),
		chromedp.UserDataDir(filepath.Join(t.TempDir(), "profile")), chromedp.WSURLReadTimeout(patience))
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		stop()
		stopAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &Browser{ctx: ctx}
}

// Tab is a window with cookies and storage of its own.
type Tab struct {
	t    testing.TB
	ctx  context.Context //nolint:containedctx // chromedp keeps its state in it
	base string

	mu         sync.Mutex
	complaints []string
	requests   map[network.RequestID]string
	bytes      map[string]int64 // by address, as decoded
	accept     bool             // what to answer to a question of the page
}

// call sends a command of the browser's protocol.
func call[P, R any](t *Tab, what string, command cdp.Command[P, R], params P) R {
	t.t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	answer, err := chromedp.Call(ctx, command, params)
	if err != nil {
		t.t.Fatalf("%s: %v", what, err)
	}
	return answer
}

// Tab opens a window whose paths are those of base, http://host:port. What the browser complains of is kept, see Complaints.
func (b *Browser) Tab(t testing.TB, base string) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	tab := &Tab{t: t, ctx: ctx, base: base, requests: map[network.RequestID]string{}, bytes: map[string]int64{}, accept: true}
	t.Cleanup(func() {
		if t.Failed() {
			tab.lastWords()
		}
		cancel()
	})
	if err := chromedp.Listen(ctx, tab.listen); err != nil {
		t.Fatalf("open a window: %v", err)
	}
	call(tab, "watch the network", network.Enable, network.EnableParams{})
	call(tab, "watch the log", log.Enable, cdp.Empty{})
	tab.Size(1280, 900)
	tab.Scheme("light")
	return tab
}

func (t *Tab) listen(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, a := range e.Args {
				words = append(words, string(a.Value)+a.Description)
			}
			t.complaints = append(t.complaints, "console "+string(e.Type)+": "+strings.Join(words, " "))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		t.complaints = append(t.complaints, "exception: "+text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			t.complaints = append(t.complaints, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		t.requests[e.RequestID] = e.Request.URL
		if !strings.HasPrefix(e.Request.URL, t.base+"/") && !strings.HasPrefix(e.Request.URL, "data:") && !strings.HasPrefix(e.Request.URL, "about:") {
			t.complaints = append(t.complaints, "another host is asked: "+e.Request.URL)
		}
	case *network.EventDataReceived:
		t.bytes[t.requests[e.RequestID]] += e.DataLength
	case *page.EventJavascriptDialogOpening:
		answer := page.HandleJavaScriptDialogParams{Accept: t.accept}
		go func() { // the page stands still until it is answered
			_, _ = chromedp.Call(t.ctx, page.HandleJavaScriptDialog, answer) // it may have gone by itself
		}()
	}
}

// lastWords says where a test stood when it failed.
func (t *Tab) lastWords() {
	ctx, cancel := context.WithTimeout(t.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + '\n' + (document.body ? document.body.innerText : '')`))
	if err != nil {
		return
	}
	if len(text) > 2500 {
		text = text[:2500] + " ..."
	}
	t.t.Logf("the window shows %s", text)
	if dir := os.Getenv("FAILED_SCREENSHOTS"); dir != "" {
		if picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(90)); err == nil {
			_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.t.Name(), "/", "_")+".jpg"), picture, 0o600) //nolint:gosec // where the person who runs the test wants it
		}
	}
}

// Run runs actions of chromedp, within patience.
func (t *Tab) Run(what string, actions ...chromedp.Action[chromedp.Void]) {
	t.t.Helper()
	if err := t.try(patience, actions...); err != nil {
		t.t.Fatalf("%s: %v", what, err)
	}
}

func (t *Tab) try(within time.Duration, actions ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(t.ctx, within)
	defer cancel()
	err := chromedp.Do(ctx, actions...)
	if err != nil && ctx.Err() != nil {
		return errors.Join(fmt.Errorf("not within %s", within), err)
	}
	return err
}

// Open goes to a path and waits until it has loaded.
func (t *Tab) Open(path string) {
	t.t.Helper()
	t.Run("open "+path, chromedp.Navigate(t.base+path))
}

// Size makes the window that large.
func (t *Tab) Size(width, height int64) {
	t.t.Helper()
	call(t, "resize the window", emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
}

// Scheme makes the reader prefer light or dark, and no motion.
func (t *Tab) Scheme(scheme string) {
	t.t.Helper()
	call(t, "prefer "+scheme, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
}

// TimeZone puts the reader into a time zone, such as Asia/Kolkata.
func (t *Tab) TimeZone(zone string) {
	t.t.Helper()
	call(t, "move to "+zone, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: zone})
}

// Answers sets what questions of the page are answered from now on; true at first.
func (t *Tab) Answers(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accept = yes
}

// Click clicks what the selector (CSS) finds first, as soon as it can be seen.
func (t *Tab) Click(selector string) {
	t.t.Helper()
	var err error
	for range 20 {
		err = t.try(patience, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
		if err == nil || !strings.Contains(err.Error(), "Could not find node") {
			break // else a live region has put another in its place between the look and the click
		}
	}
	if err != nil {
		t.t.Fatalf("click %s: %v", selector, err)
	}
}

// Fill replaces the text of a field by typing.
func (t *Tab) Fill(selector, text string) {
	t.t.Helper()
	t.Run("fill in "+selector, chromedp.WaitVisible(chromedp.CSS(selector)),
		chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector(%q).value = ''`, selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Select chooses an option of a select element by its value.
func (t *Tab) Select(selector, value string) {
	t.t.Helper()
	t.Run("select "+value+" in "+selector, chromedp.WaitVisible(chromedp.CSS(selector)),
		chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => { const s = document.querySelector(%q); s.value = %q; s.dispatchEvent(new Event('input', {bubbles: true})); s.dispatchEvent(new Event('change', {bubbles: true})); })()`, selector, value)))
}

// Upload puts a file into a file field.
func (t *Tab) Upload(selector, path string) {
	t.t.Helper()
	t.Run("upload "+path, chromedp.SetUploadFiles(chromedp.CSS(selector), []string{path}))
}

// Press types keys where the focus is: "\t", "\r", kb.Enter of chromedp's package kb.
func (t *Tab) Press(keys string) {
	t.t.Helper()
	t.Run("press a key", chromedp.KeyEvent(keys))
}

// Eval evaluates an expression, awaiting it when it is a promise, and decodes its value into out, which may be nil.
func (t *Tab) Eval(expression string, out any) {
	t.t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
	if err == nil && out != nil {
		err = json.Unmarshal(raw, out)
	}
	if err != nil {
		if len(expression) > 200 {
			expression = expression[:200] + " ..."
		}
		t.t.Fatalf("evaluate %s: %v", expression, err)
	}
}

// Text is what a person reads in the first element that the selector finds; empty when there is none.
func (t *Tab) Text(selector string) string {
	t.t.Helper()
	var text string
	t.Eval(fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ''`, selector), &text)
	return text
}

// Until waits until an expression is true, whatever pages come and go meanwhile.
func (t *Tab) Until(what, expression string) {
	t.t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`Boolean(`+expression+`)`))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			t.t.Fatalf("waited %s for %s (%v)", patience, what, err)
		case <-tick.C:
		}
	}
}

// UntilText waits until the first element that the selector finds holds that text.
func (t *Tab) UntilText(selector, text string) {
	t.t.Helper()
	t.Until(fmt.Sprintf("%q in %s", text, selector), fmt.Sprintf(`(document.querySelector(%q)?.innerText ?? '').includes(%q)`, selector, text))
}

// UntilPath waits until the window shows a path, loaded.
func (t *Tab) UntilPath(path string) {
	t.t.Helper()
	t.Until("the page "+path, fmt.Sprintf(`location.pathname === %q && document.readyState === 'complete'`, path))
}

// Cookie is a cookie of the window, those that scripts cannot see among them; nil when there is none.
func (t *Tab) Cookie(name string) *network.Cookie {
	t.t.Helper()
	for _, c := range call(t, "read the cookies", network.GetCookies, network.GetCookiesParams{}).Cookies {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Clipboard is what the window's clipboard holds.
func (t *Tab) Clipboard() string {
	t.t.Helper()
	var text string
	t.Eval(`navigator.clipboard.readText()`, &text)
	return text
}

// AllowClipboard lets pages of the window read and write the clipboard.
func (t *Tab) AllowClipboard() {
	t.t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(t.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted, Origin: t.base,
			BrowserContextID: chromedp.FromContext(t.ctx).BrowserContextID,
		}); err != nil {
			t.t.Fatalf("allow the clipboard: %v", err)
		}
	}
}

// Complaints is what the browser complained of since it was asked last: errors and warnings in the console, exceptions, requests
// that failed or went to another host.
func (t *Tab) Complaints() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.complaints
	t.complaints = nil
	return all
}

// Weight is how many bytes, as decoded, were loaded since it was asked last, what a cache had among them, and which.
func (t *Tab) Weight() (total int64, of map[string]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of = t.bytes
	t.bytes = map[string]int64{}
	for _, n := range of {
		total += n
	}
	return total, of
}

// NoCache makes the browser load everything anew.
func (t *Tab) NoCache() {
	t.t.Helper()
	call(t, "switch off the cache", network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
}

// Downloads lets the window save files into a folder.
func (t *Tab) Downloads(folder string) {
	t.t.Helper()
	if _, err := chromedp.CallBrowser(t.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder, BrowserContextID: chromedp.FromContext(t.ctx).BrowserContextID,
	}); err != nil {
		t.t.Fatalf("allow downloads: %v", err)
	}
}
