package app

import (
	"context"
	"log/slog"
)

// panicKey is the key under which every room logs a panic that it has contained, next to its tenant.
const panicKey = "panic"

// countPanics counts the lines of log that tell of a panic. Counted there, none that is told of can be missed, and no room has
// to know of metrics.
func countPanics(log *slog.Logger, count func()) *slog.Logger {
	return slog.New(panicLog{log.Handler(), count})
}

type panicLog struct {
	slog.Handler
	count func()
}

// Enabled lets a panic's line come even where LOG_LEVEL drops errors.
func (l panicLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError || l.Handler.Enabled(ctx, level)
}

func (l panicLog) Handle(ctx context.Context, line slog.Record) error {
	line.Attrs(func(a slog.Attr) bool {
		if a.Key == panicKey {
			l.count()
			return false
		}
		return true
	})
	if !l.Handler.Enabled(ctx, line.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, line)
}

func (l panicLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return panicLog{l.Handler.WithAttrs(attrs), l.count}
}

func (l panicLog) WithGroup(name string) slog.Handler {
	return panicLog{l.Handler.WithGroup(name), l.count}
}
