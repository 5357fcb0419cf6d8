package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// watchdog runs a server and waits for a word on its standard input: "kill" ends it with SIGKILL, "stop" in order. When
// the input is closed instead, for the test process is gone, however it ended, the server and its folder go as well.
const watchdog = `
folder=$1; shift
(
	sh -c 'echo $$ >"$0/pid"; exec "$@"' "$folder" "$@" >>"$folder/log" 2>&1 </dev/null
	: >"$folder/ended"
) &
read word
server=$(cat "$folder/pid")
case $word in
kill) kill -KILL "$server" ;;
*)    kill -INT "$server" ;;
esac 2>/dev/null
wait
[ -n "$word" ] || rm -rf "$folder"
`

// Server is a server in a process of its own, on a free port of 127.0.0.1.
type Server struct {
	URL string

	dir     string
	command []string
	user    *syscall.Credential // nil: who runs the test
	ready   func(ctx context.Context, url string) error

	mu    sync.Mutex
	guard *exec.Cmd
	words io.WriteCloser
}

// start starts the server and waits until it is ready. An error is followed by what it has logged.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if err := s.spawn(); err != nil {
			return err
		}
		err := s.ready(ctx, s.URL)
		for err != nil && ctx.Err() == nil && !s.ended() {
			<-look.C
			err = s.ready(ctx, s.URL)
		}
		if err == nil {
			return nil
		}
		s.end("kill\n")
		if ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("%v is not ready: %w\n%s", s.command, err, log)
		}
		// It gave up by itself: a Postgres does while the children of one that was killed are still about.
		<-look.C
	}
}

func (s *Server) spawn() error {
	guard := exec.Command("sh", append([]string{"-c", watchdog, "watchdog", s.dir}, s.command...)...) //nolint:gosec,noctx // lives as long as the tests
	// Not in our group: Ctrl-C ends the tests, and their end ends the server.
	guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.user}
	guard.Dir = s.dir
	words, err := guard.StdinPipe()
	if err != nil {
		return err
	}
	// Removed here, for the watchdog may not have come to it before we look.
	if err := os.Remove(filepath.Join(s.dir, "ended")); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := guard.Start(); err != nil {
		return err
	}
	s.guard, s.words = guard, words
	return nil
}

// ended reports whether the server has ended by itself.
func (s *Server) ended() bool {
	_, err := os.Stat(filepath.Join(s.dir, "ended"))
	return err == nil
}

// end says word to the watchdog and waits until it has gone. Without a word the server's folder is removed.
func (s *Server) end(word string) {
	if s.guard == nil {
		return
	}
	io.WriteString(s.words, word) //nolint:errcheck // a watchdog that has gone needs no word
	s.words.Close()
	s.guard.Wait() //nolint:errcheck // a killed server is an error that is meant
	s.guard = nil
}

// Stop stops the server in order. Start starts it again with the data it has kept.
func (s *Server) Stop() { s.stop("stop\n") }

// Kill ends the server with SIGKILL, in the middle of whatever it does.
func (s *Server) Kill() { s.stop("kill\n") }

func (s *Server) stop(word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(word)
}

// Start starts the server again after Stop or Kill and waits until it is ready.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// remove removes the folder of a server that has been stopped.
func (s *Server) remove(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Error(err)
	}
}

// nextPort is the port that FreePort looks at next, above firstPort.
var nextPort atomic.Uint32 //nolint:gochecknoglobals // ports exist once per machine

// The ports of FreePort lie below those that systems give to who asks for any (from 32768 on Linux, 49152 elsewhere): else any connection of a
// test beside could take the port before the server has it, or while it is killed and started again.
const firstPort, ports = 20_000, 10_000

// FreePort is a port of 127.0.0.1 on which nobody listens, for a server that must have the same one when it is started again. A process is
// given each once.
func FreePort() (string, error) {
	nextPort.CompareAndSwap(0, uint32(os.Getpid()*61)) // test processes beside each other begin elsewhere
	for range ports {
		port := strconv.Itoa(firstPort + int(nextPort.Add(1)%ports))
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return "", err
		}
		return port, listener.Close()
	}
	return "", fmt.Errorf("each of %d ports from %d is taken", ports, firstPort)
}

// folder makes a folder of user under the system's temporary one. It is not the test's: the watchdog removes it.
func folder(user *syscall.Credential) (string, error) {
	dir, err := os.MkdirTemp("", "wapro-hub-service-")
	if err != nil || user == nil {
		return dir, err
	}
	return dir, os.Chown(dir, int(user.Uid), int(user.Gid))
}
