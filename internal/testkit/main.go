package testkit

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// Main gives a program of the repository what go test gives a test, so that the chaos run and the benchmarks start the same hubs,
// servers and simulators: run's t logs to out, ends run at Fatal, and its cleanups run when run is over or was ended by it. Main
// reports whether nothing failed. t.Context ends with ctx.
func Main(ctx context.Context, name string, out io.Writer, run func(t testing.TB)) bool {
	ctx, cancel := context.WithCancel(ctx)
	t := &programTB{name: name, out: out, ctx: ctx}
	guarded := func(do func()) { // Fatal ends its goroutine
		done := make(chan struct{})
		go func() {
			defer close(done)
			do()
		}()
		<-done
	}
	guarded(func() { run(t) })
	cancel()
	for {
		clean := t.nextCleanup()
		if clean == nil {
			return !t.Failed()
		}
		guarded(clean)
	}
}

// programTB is the testing.TB of a program. Methods that it does not have panic.
type programTB struct {
	testing.TB // testing.TB cannot be implemented otherwise
	name       string
	out        io.Writer
	ctx        context.Context //nolint:containedctx // as testing.T does

	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

func (t *programTB) Name() string             { return t.name }
func (t *programTB) Helper()                  {}
func (t *programTB) Context() context.Context { return t.ctx }

func (t *programTB) print(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.out, text)
}

func (t *programTB) Log(args ...any)                 { t.print(fmt.Sprint(args...)) }
func (t *programTB) Logf(format string, args ...any) { t.print(fmt.Sprintf(format, args...)) }

func (t *programTB) Fail() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = true
}

func (t *programTB) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *programTB) FailNow() {
	t.Fail()
	runtime.Goexit()
}

func (t *programTB) Error(args ...any) {
	t.Log(args...)
	t.Fail()
}

func (t *programTB) Errorf(format string, args ...any) {
	t.Logf(format, args...)
	t.Fail()
}

func (t *programTB) Fatal(args ...any) {
	t.Log(args...)
	t.FailNow()
}

func (t *programTB) Fatalf(format string, args ...any) {
	t.Logf(format, args...)
	t.FailNow()
}

// Skip fails: a program that was asked for has nothing to skip.
func (t *programTB) Skip(args ...any)                 { t.Fatal(args...) }
func (t *programTB) Skipf(format string, args ...any) { t.Fatalf(format, args...) }

func (t *programTB) Cleanup(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, do)
}

// nextCleanup takes the last one that was added; nil when none is left.
func (t *programTB) nextCleanup() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.cleanups)
	if n == 0 {
		return nil
	}
	last := t.cleanups[n-1]
	t.cleanups = slices.Delete(t.cleanups, n-1, n)
	return last
}

func (t *programTB) TempDir() string {
	dir, err := os.MkdirTemp("", t.name+"-")
	if err != nil {
		t.Fatalf("make a folder: %v", err)
	}
	t.Cleanup(func() {
		look := time.NewTicker(100 * time.Millisecond)
		defer look.Stop()
		err := os.RemoveAll(dir)
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); err = os.RemoveAll(dir) {
			<-look.C // what a killed program started may write for a moment longer
		}
		if err != nil {
			t.Errorf("remove a folder: %v", err)
		}
	})
	return dir
}
