package wasim_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wasim"
)

// childDir is the environment variable that makes the test binary a simulator of its own, childAddr where it listens.
const (
	childDir  = "WASIM_CHILD_DIR"
	childAddr = "WASIM_CHILD_ADDR"
)

// runChild is a simulator process: it prints where its routes are and lives until its standard input ends.
func runChild() int {
	s, err := wasim.Start(context.Background(), wasim.Config{
		Dir: os.Getenv(childDir), Addr: os.Getenv(childAddr), RootKey: rootKey(), ReadDelay: time.Millisecond,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	routes := httptest.NewServer(s.Handler())
	fmt.Fprintln(os.Stdout, routes.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// process is a simulator process.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	routes string
}

func startProcess(t *testing.T, dir, addr string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.cmd.Env = append(os.Environ(), childDir+"="+dir, childAddr+"="+addr)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin = in
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the simulator process said nothing: %v", err)
	}
	p.routes = strings.TrimSpace(line)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // dead already is fine
	_ = p.cmd.Wait()
}

func (p *process) shown(t *testing.T, number string) []wasim.Shown {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.routes+"/sandbox/phones/"+number+"/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct{ Data []wasim.Shown }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Data
}

func (p *process) pair(t *testing.T, qr, number string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"qr": qr, "number": number})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.routes+"/sandbox/pair", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("pairing answers %s", resp.Status)
	}
}

// A process is killed three times while a client sends; a send that failed is repeated under its stanza id.
func TestKilledServerShowsEveryMessageOnce(t *testing.T) {
	t.Parallel()
	port, err := services.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := t.TempDir(), "127.0.0.1:"+port
	p := startProcess(t, dir, addr)
	c := newClientAt(t, addr)
	c.connect()
	p.pair(t, await[*events.QR](c, nil).Codes[0], alice)
	await[*events.Connected](c, nil)

	const total, kills = 60, 3
	reached := make(chan struct{}, total)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for i := range total {
			extra := whatsmeow.SendRequestExtra{ID: fmt.Sprintf("3EB0%016X", i), Timeout: 2 * time.Second}
			for end := time.Now().Add(deadline); ; {
				if _, err := c.SendMessage(t.Context(), pn(bob), textMessage(fmt.Sprintf("message %d", i)), extra); err == nil {
					break
				} else if time.Now().After(end) {
					t.Errorf("message %d: %v", i, err)
					return
				}
				c.WaitForConnection(5 * time.Second)
			}
			reached <- struct{}{}
		}
	}()
	for range kills {
		for range total / (kills + 1) {
			select {
			case <-reached:
			case <-finished:
				t.Fatal("the client gave up")
			}
		}
		p.kill()
		p = startProcess(t, dir, addr)
	}
	<-finished
	shown := p.shown(t, bob)
	if len(shown) != total {
		t.Fatalf("the phone shows %d of %d messages", len(shown), total)
	}
	for i, m := range shown {
		if want := fmt.Sprintf("message %d", i); m.Text != want {
			t.Errorf("at %d the phone shows %q", i, m.Text)
		}
	}
}
