package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// childRole names, in the environment, the baseline that this program is started as. A child reads its orders from standard
// input and writes its answers to standard output, one JSON object a line each, and ends when its input does.
const childRole = "WAPRO_HUB_BENCH_CHILD"

// runChild serves as a baseline and returns the exit code.
func runChild(ctx context.Context, role string) int {
	serve := map[string]func(context.Context, *conversation) error{"echo": serveEcho, "bare": serveBare, "guarded": serveGuarded}[role]
	if serve == nil {
		fmt.Fprintf(os.Stderr, "there is no baseline %q\n", role)
		return 2
	}
	orders := bufio.NewScanner(os.Stdin)
	orders.Buffer(nil, 16<<20)
	if err := serve(ctx, &conversation{in: orders, out: json.NewEncoder(os.Stdout)}); err != nil {
		fmt.Fprintf(os.Stderr, "baseline %s: %v\n", role, err)
		return 1
	}
	return 0
}

// conversation is one side of the pipes between this program and a child.
type conversation struct {
	in  *bufio.Scanner
	out *json.Encoder
}

func (c *conversation) say(v any) error { return c.out.Encode(v) }

// hear reads the next line into v; io.EOF when the other side has gone.
func (c *conversation) hear(v any) error {
	if !c.in.Scan() {
		if err := c.in.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	return json.Unmarshal(c.in.Bytes(), v)
}

// child is a baseline in a process of its own.
type child struct {
	t    testing.TB
	role string
	pid  int
	*conversation
	end func()
}

// startChild starts a baseline, gives it its settings, and reads what it answers when it is ready. It ends with the section.
func startChild(t testing.TB, role string, settings, ready any) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self) //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	answers.Buffer(nil, 16<<20)
	c := &child{t: t, role: role, pid: cmd.Process.Pid, conversation: &conversation{in: answers, out: json.NewEncoder(in)}}
	ended := false
	c.end = func() {
		if ended {
			return
		}
		ended = true
		in.Close()
		_ = cmd.Wait() // killed when the section was ended early
	}
	t.Cleanup(c.end)
	c.ask(settings, ready)
	return c
}

// ask gives an order and waits for the answer.
func (c *child) ask(order, answer any) {
	c.t.Helper()
	err := c.say(order)
	if err == nil {
		err = c.hear(answer)
	}
	if err != nil {
		c.t.Fatalf("ask baseline %s: %v", c.role, err)
	}
}
