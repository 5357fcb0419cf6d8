package wa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	waBinary "go.mau.fi/whatsmeow/binary"
	waLog "go.mau.fi/whatsmeow/util/log"
)

// whatsmeowLog passes whatsmeow's lines on. Its debug lines hold whole stanzas, QR codes and names and are dropped; of the
// others, stanzas are reduced to their tag and bytes to their number, so that no text and no key is ever logged.
type whatsmeowLog struct {
	log    *slog.Logger
	module string
}

var _ waLog.Logger = whatsmeowLog{}

func (l whatsmeowLog) Debugf(string, ...any) {}

// whatsmeow informs of each step; what matters of it is told by the session's own states.
func (l whatsmeowLog) Infof(msg string, args ...any) { l.write(slog.LevelDebug, msg, args) }

func (l whatsmeowLog) Warnf(msg string, args ...any) { l.write(slog.LevelWarn, msg, args) }

// What whatsmeow calls an error is a line that broke or a stanza it does not know: the session goes on or tells its end.
func (l whatsmeowLog) Errorf(msg string, args ...any) { l.write(slog.LevelWarn, msg, args) }

func (l whatsmeowLog) Sub(module string) waLog.Logger {
	if l.module != "" {
		module = l.module + "/" + module
	}
	return whatsmeowLog{log: l.log, module: module}
}

func (l whatsmeowLog) write(level slog.Level, msg string, args []any) {
	ctx := context.Background()
	if slices.ContainsFunc(args, closedByUs) {
		level = slog.LevelDebug
	}
	if !l.log.Enabled(ctx, level) {
		return
	}
	safe := make([]any, len(args))
	for i, arg := range args {
		safe[i] = withoutContent(arg)
	}
	l.log.Log(ctx, level, "whatsmeow", "module", l.module, "line", fmt.Sprintf(msg, safe...))
}

// closedByUs reports whether arg is the error of a connection that this side has closed.
func closedByUs(arg any) bool {
	err, ok := arg.(error)
	return ok && (errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled))
}

func withoutContent(arg any) any {
	switch v := arg.(type) {
	case *waBinary.Node:
		if v == nil {
			return "<nil>"
		}
		return "<" + v.Tag + ">"
	case waBinary.Node:
		return "<" + v.Tag + ">"
	case []byte:
		return fmt.Sprintf("%d bytes", len(v))
	}
	return arg
}

// signalLog passes libsignal's lines on. They name addresses and counters; its debug lines hold ciphertext.
type signalLog struct{ log *slog.Logger }

func (l signalLog) Debug(string, string) {}
func (l signalLog) Info(string, string)  {}

func (l signalLog) Warning(caller, message string) {
	l.log.Warn("libsignal", "at", caller, "line", message)
}

func (l signalLog) Error(caller, message string) {
	l.log.Warn("libsignal", "at", caller, "line", message)
}

func (l signalLog) Configure(string) {}
