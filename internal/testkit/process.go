package testkit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built are the programs of this test process.
var built struct { //nolint:gochecknoglobals // one build serves every test of the process
	once sync.Once
	dir  string
	err  error
}

// Binary builds the programs once per test process and returns the path of the one named, api or worker. No test is the last to need
// them, so each test process removes what those before it left.
func Binary(t testing.TB, program string) string {
	t.Helper()
	built.once.Do(func() {
		removeLeft()
		dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", binaries, os.Getpid())) //nolint:usetesting // outlives the test that happens to build first
		if err != nil {
			built.err = err
			return
		}
		_, self, _, _ := runtime.Caller(0)
		root := filepath.Dir(filepath.Dir(filepath.Dir(self)))
		built.dir = dir
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", dir, "./api", "./worker") //nolint:gosec // our own paths
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = errors.New(string(out))
		}
	})
	if built.err != nil {
		t.Fatalf("build the programs: %v", built.err)
	}
	return filepath.Join(built.dir, program)
}

const binaries = "wapro-hub-test-"

// removeLeft removes the programs of test processes that have ended.
func removeLeft() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), binaries+"*-*"))
	if err != nil {
		return // the pattern is right
	}
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), binaries+"%d-", &pid); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // somebody else may be at it
		}
	}
}

// Process is a running program of the hub.
type Process struct {
	t        testing.TB
	cmd      *exec.Cmd
	done     chan struct{}
	mu       sync.Mutex
	stdout   strings.Builder
	stderr   strings.Builder
	listens  map[string]string
	newLines chan struct{}
}

// Run starts the api program, see RunProgram.
func Run(t testing.TB, args []string, environ ...string) *Process {
	t.Helper()
	return RunProgram(t, "api", args, environ...)
}

// RunProgram starts a program, api or worker, with args and only the environment given, on loopback ports it chooses
// itself, and kills it when the test ends.
func RunProgram(t testing.TB, program string, args []string, environ ...string) *Process {
	t.Helper()
	p := &Process{t: t, done: make(chan struct{}), listens: map[string]string{}, newLines: make(chan struct{}, 1)}
	p.cmd = exec.Command(Binary(t, program), args...) //nolint:gosec,noctx // our own program; the test's end kills it
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LOG_FORMAT=json",
		"HTTP_ADDR=127.0.0.1:0", "OPS_ADDR=127.0.0.1:0", "SIMULATOR_ADDR=127.0.0.1:0", "RATE_LIMIT=1000000", "QUEUE_LIMIT=100000000",
		"TMPDIR=/nonexistent", // the image has no folder for temporary files
	}, environ...)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, &p.stdout) })
	readers.Go(func() { p.read(stderr, &p.stderr) })
	go func() {
		readers.Wait()
		_ = p.cmd.Wait() // a killed program has an error; tests look at what it did
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%v printed:\n%s\n%s", p.cmd.Args, p.Stdout(), tail(p.Stderr(), 200))
		}
	})
	return p
}

func (p *Process) read(r io.Reader, into *strings.Builder) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line struct {
			Msg  string `json:"msg"`
			Name string `json:"name"`
			Addr string `json:"addr"`
		}
		p.mu.Lock()
		into.WriteString(scanner.Text() + "\n")
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == "listening" {
			p.listens[line.Name] = line.Addr
		}
		p.mu.Unlock()
		select {
		case p.newLines <- struct{}{}:
		default:
		}
	}
}

// Stdout is what the program has printed for people so far.
func (p *Process) Stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// Stderr is what the program has logged so far.
func (p *Process) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// Listening waits until the program logged that it listens under name ("requests", "operations", "whatsapp",
// "sandbox") and returns host:port.
func (p *Process) Listening(name string) string {
	p.t.Helper()
	return p.until("listens for "+name, func() string { return p.listens[name] })
}

// Printed waits for a line of standard output that begins with prefix and returns the rest of it.
func (p *Process) Printed(prefix string) string {
	p.t.Helper()
	return p.until("prints "+prefix, func() string {
		for line := range strings.SplitSeq(p.stdout.String(), "\n") {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
				return strings.TrimSpace(rest)
			}
		}
		return ""
	})
}

func (p *Process) until(what string, get func() string) string {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		value := get()
		p.mu.Unlock()
		if value != "" {
			return value
		}
		select {
		case <-p.newLines:
		case <-p.done:
			p.t.Fatalf("the program ended before it %s:\n%s", what, p.Stderr())
		case <-deadline:
			p.t.Fatalf("%s passed before it %s:\n%s", patience, what, p.Stderr())
		}
	}
}

// Kill ends the program with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.done
}

// Signal sends the program a signal, SIGSTOP and SIGCONT among them.
func (p *Process) Signal(signal os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatalf("send %s: %v", signal, err)
	}
}

// TrySignal sends the program a signal and reports whether it was still there to get it.
func (p *Process) TrySignal(signal os.Signal) bool { return p.cmd.Process.Signal(signal) == nil }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Address is host:port of what the program has logged that it listens for, as Listening, or empty.
func (p *Process) Address(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listens[name]
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Terminate asks the program to stop with SIGTERM and waits until it is gone, at most d.
func (p *Process) Terminate(d time.Duration) {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-p.done:
	case <-time.After(d):
		p.t.Fatalf("still running %s after SIGTERM", d)
	}
}

func tail(s string, lines int) string {
	all := strings.Split(s, "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
