package fetch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// A tenant sends one message after the other, so a file or a page that takes long must not be waited for: it is fetched beside the sends, and its message
// comes again. What came of it is remembered for a while: for the message, and for the others of its bulk, which need not ask a dead URL each.
const (
	patience   = 300 * time.Millisecond // to wait for a file before its message is put aside
	perTenant  = 8                      // fetches at a time
	perProcess = 64                     // fetches at a time
	remembered = time.Minute            // is what came of a fetch, for the others of the bulk and until its message comes again
	maxOutcome = 4096                   // of files that are remembered; beyond it nothing is fetched until some are forgotten
)

// job is one fetch. value and err may be read when done is closed.
type job[T any] struct {
	tenant int64
	of     string // id of the message that asked first
	done   chan struct{}
	value  T
	err    error
	until  time.Time // forgotten then; zero while it runs
}

// ended waits for the job for at most so long, and tells whether it has ended.
func (j *job[T]) ended(ctx context.Context, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-j.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// jobs are the fetches of a process.
type jobs[T any] struct {
	life context.Context //nolint:containedctx // of the fetches, which outlive the tickets that led to them
	end  context.CancelFunc
	all  sync.WaitGroup
	now  func() time.Time
	most int // outcomes that are remembered

	mu      sync.Mutex
	byKey   map[string]*job[T]
	running map[int64]int // by tenant
	total   int
}

func newJobs[T any](most int) *jobs[T] {
	j := &jobs[T]{now: time.Now, most: most, byKey: make(map[string]*job[T]), running: make(map[int64]int)}
	j.life, j.end = context.WithCancel(context.Background()) //nolint:gosec // stop calls it
	return j
}

// stop ends all fetches.
func (j *jobs[T]) stop() {
	j.end()
	j.all.Wait()
}

// start begins the fetch unless it was begun before; nil when there are too many.
func (j *jobs[T]) start(key string, m *gateway.Message, get func(context.Context) (T, error)) *job[T] {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	if old := j.byKey[key]; old != nil && (old.until.IsZero() || old.until.After(now)) {
		return old
	}
	if len(j.byKey) >= j.most {
		for k, old := range j.byKey {
			if !old.until.IsZero() && !old.until.After(now) {
				delete(j.byKey, k)
			}
		}
	}
	if len(j.byKey) >= j.most || j.total >= perProcess || j.running[m.TenantKey] >= perTenant || j.life.Err() != nil {
		return nil
	}
	job := &job[T]{tenant: m.TenantKey, of: m.ID, done: make(chan struct{})}
	j.byKey[key] = job
	j.total++
	j.running[m.TenantKey]++
	j.all.Go(func() { j.run(job, get) })
	return job
}

func (j *jobs[T]) run(job *job[T], get func(context.Context) (T, error)) {
	defer func() {
		if p := recover(); p != nil {
			job.err = &gateway.SendError{Cause: gateway.CauseInternal, Err: errors.New("panic in a fetch: " + gateway.PanicCause(p))}
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.total--
		if j.running[job.tenant]--; j.running[job.tenant] == 0 {
			delete(j.running, job.tenant)
		}
		job.until = j.now().Add(remembered)
		close(job.done)
	}()
	job.value, job.err = get(j.life)
}

func (j *jobs[T]) forget(key string, done *job[T]) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.byKey[key] == done {
		delete(j.byKey, key)
	}
}
