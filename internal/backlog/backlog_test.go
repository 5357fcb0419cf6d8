package backlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wapro/hub/internal/backlog"
	"github.com/wapro/hub/internal/gateway"
)

type queue struct {
	depth, asked int
	err          error
}

func (q *queue) Depth(context.Context, int64) (gateway.QueueDepth, error) {
	q.asked++
	return gateway.QueueDepth{Normal: q.depth - q.depth/2, Bulk: q.depth / 2}, q.err
}

func TestAQueueIsBoundedAndSeldomCounted(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	q := &queue{depth: 50}
	l := backlog.New(q, 100, func() time.Time { return now })
	tenant := gateway.Tenant{Key: 1}
	accepted := 0
	for range 80 {
		err := l.Admit(t.Context(), tenant, 1)
		if err != nil && gateway.CodeOf(err) != gateway.CodeQueueFull {
			t.Fatal(err)
		}
		if err == nil {
			accepted++
			q.depth++
		}
	}
	if accepted != 50 || q.asked > 7 {
		t.Errorf("%d accepted, counted %d times", accepted, q.asked)
	}
	if err := l.Admit(t.Context(), tenant, 1); gateway.CodeOf(err) != gateway.CodeQueueFull {
		t.Errorf("over the limit: %v", err)
	}
	q.depth, now = 90, now.Add(time.Second) // some were sent
	if err := l.Admit(t.Context(), tenant, 11); gateway.CodeOf(err) != gateway.CodeQueueFull {
		t.Errorf("eleven where ten fit: %v", err)
	}
	if err := l.Admit(t.Context(), tenant, 10); err != nil {
		t.Errorf("ten where ten fit: %v", err)
	}
	tenant.Limits.QueuedMessages = 1000
	if err := l.Admit(t.Context(), tenant, 500); err != nil {
		t.Errorf("with a limit of its own: %v", err)
	}
	q.err = errors.New("no database")
	if err := l.Admit(t.Context(), gateway.Tenant{Key: 2}, 1); !errors.Is(err, q.err) {
		t.Errorf("uncounted: %v", err)
	}
	if err := backlog.New(q, 0, time.Now).Admit(t.Context(), gateway.Tenant{}, 1<<40); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
