package app

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/session"
)

// slowQuestions is a database in which every question asks for groups.
type slowQuestions struct {
	Database
	mu       sync.Mutex
	answered map[int64]int // by tenant
}

func (*slowQuestions) Query(_ context.Context, tenantKey int64, id string) (gateway.Query, error) {
	return gateway.Query{ID: id, TenantKey: tenantKey, Kind: gateway.QueryGroups}, nil
}

func (s *slowQuestions) AnswerQuery(_ context.Context, q gateway.Query) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.Code == "" {
		s.answered[q.TenantKey]++
	}
	return nil
}

// slowClient tells when WhatsApp is asked, and lets it think.
type slowClient struct {
	session.Client
	asker
	tenantKey int64
	asked     chan int64
	think     chan struct{}
}

func (c slowClient) Groups(ctx context.Context) ([]gateway.Group, error) {
	c.asked <- c.tenantKey
	select {
	case <-c.think:
		return []gateway.Group{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// I6: a tenant that asks more than a process answers at a time holds up itself and nobody else.
func TestATenantsQuestionsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	database := &slowQuestions{answered: map[int64]int{}}
	a := newAnswers(&Hub{database: database, log: slog.New(slog.DiscardHandler)})
	asked, think := make(chan int64), make(chan struct{})
	var all sync.WaitGroup
	ask := func(tenantKey int64) {
		all.Go(func() {
			a.Answer(t.Context(), slowClient{tenantKey: tenantKey, asked: asked, think: think}, tenantKey, "question")
		})
	}
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	next := func(want int64) {
		t.Helper()
		select {
		case got := <-asked:
			if got != want {
				t.Fatalf("WhatsApp is asked for tenant %d, want %d", got, want)
			}
		case <-late.C:
			t.Fatalf("tenant %d is not answered", want)
		}
	}
	for range gateway.QueriesAtOnce + 1 {
		ask(1)
	}
	for range gateway.QueriesAtOnce / 2 {
		next(1)
	}
	ask(2)
	next(2)
	close(think)
	for range gateway.QueriesAtOnce + 1 - gateway.QueriesAtOnce/2 {
		next(1)
	}
	all.Wait()
	if database.answered[1] != gateway.QueriesAtOnce+1 || database.answered[2] != 1 {
		t.Errorf("answered %v", database.answered)
	}
}
