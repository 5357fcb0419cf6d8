package queue

import (
	"fmt"
	"log/slog"
	"strings"
)

// asynqLog hands asynq's log to slog, one step quieter: what asynq warns of (a task goes back, a command is tried
// again) is part of normal work here.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(...any) {}

func (l asynqLog) Info(...any) {}

func (l asynqLog) Warn(args ...any) { l.log.Debug("asynq", "said", fmt.Sprint(args...)) }

func (l asynqLog) Error(args ...any) {
	said := fmt.Sprint(args...)
	// The subscription fails on purpose, see serverClient. Should the wording change, the log gets noisier, no more.
	if strings.HasPrefix(said, "cannot subscribe to cancelation channel") {
		return
	}
	l.log.Warn("asynq", "said", said)
}

// Fatal does not end the process: asynq calls it nowhere in what is used here, and one tenant must not end the others.
func (l asynqLog) Fatal(args ...any) { l.log.Error("asynq", "said", fmt.Sprint(args...)) }
