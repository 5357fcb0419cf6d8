package wa

import (
	"context"
	"fmt"
	"log/slog"

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

func (l whatsmeowLog) Errorf(msg string, args ...any) { l.write(slog.LevelError, msg, args) }

func (l whatsmeowLog) Sub(module string) waLog.Logger {
	if l.module != "" {
		module = l.module + "/" + module
	}
	return whatsmeowLog{log: l.log, module: module}
}

func (l whatsmeowLog) write(level slog.Level, msg string, args []any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	safe := make([]any, len(args))
	for i, arg := range args {
		safe[i] = withoutContent(arg)
	}
	l.log.Log(ctx, level, "whatsmeow", "module", l.module, "line", fmt.Sprintf(msg, safe...))
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
