package fetch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// A tenant sends one message after the other, so a file that takes long must not be waited for: it is fetched beside the sends, and its message
// comes again. What came of it is remembered for a while: for the message, and for the others of its bulk, which need not ask a dead URL each.
const (
	patience   = 300 * time.Millisecond // to wait for a file before its message is put aside
	perTenant  = 8                      // fetches at a time
	perProcess = 64                     // fetches at a time
	remembered = time.Minute            // is what came of a fetch, for the others of the bulk and until its message comes again
	maxOutcome = 4096                   // that are remembered; beyond it nothing is fetched until some are forgotten
)

// pending: the file is being fetched, or waits for its turn.
func pending() error {
	return &gateway.SendError{Cause: gateway.CauseFetching, Err: errors.New("the file at media.url is being fetched")}
}

// job is one fetch. media and err may be read when done is closed.
type job struct {
	tenant int64
	of     string // id of the message that the file is kept for when it is there
	done   chan struct{}
	media  gateway.Media
	err    error
	until  time.Time // forgotten then; zero while it runs
}

// jobs are the fetches of a process.
type jobs struct {
	life context.Context //nolint:containedctx // of the fetches, which outlive the tickets that led to them
	end  context.CancelFunc
	all  sync.WaitGroup
	now  func() time.Time

	mu      sync.Mutex
	byKey   map[string]*job
	running map[int64]int // by tenant
	total   int
}

func newJobs() *jobs {
	j := &jobs{now: time.Now, byKey: make(map[string]*job), running: make(map[int64]int)}
	j.life, j.end = context.WithCancel(context.Background())
	return j
}

// stop ends all fetches.
func (j *jobs) stop() {
	j.end()
	j.all.Wait()
}

// result waits for the file of m for a moment, and tells which message it was fetched and kept for; get is called when nobody fetches it yet. gateway.CauseFetching when it is not there by then.
func (j *jobs) result(ctx context.Context, m *gateway.Message, get func(context.Context) (gateway.Media, error)) (media gateway.Media, of string, err error) {
	if ctx.Err() != nil {
		return media, "", because(ctx, gateway.CauseFetch, 0, ctx.Err())
	}
	key := m.ID
	if m.BulkID != "" {
		key = m.BulkID + " " + m.ToFetch().URL
	}
	job := j.start(key, m, get)
	if job == nil {
		return media, "", pending()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-job.done:
		// The file is in SQL from now on. A failure of the URL is also that of the others of the bulk.
		if failed, ok := errors.AsType[*gateway.SendError](job.err); m.BulkID == "" || !ok || failed.Cause != gateway.CauseFetch {
			j.forget(key, job)
		}
		return job.media, job.of, job.err
	case <-timer.C:
		return media, "", pending()
	case <-ctx.Done():
		return media, "", because(ctx, gateway.CauseFetch, 0, ctx.Err())
	}
}

// start begins the fetch unless it was begun before; nil when there are too many.
func (j *jobs) start(key string, m *gateway.Message, get func(context.Context) (gateway.Media, error)) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	if old := j.byKey[key]; old != nil && (old.until.IsZero() || old.until.After(now)) {
		return old
	}
	if len(j.byKey) >= maxOutcome {
		for k, old := range j.byKey {
			if !old.until.IsZero() && !old.until.After(now) {
				delete(j.byKey, k)
			}
		}
	}
	if len(j.byKey) >= maxOutcome || j.total >= perProcess || j.running[m.TenantKey] >= perTenant || j.life.Err() != nil {
		return nil
	}
	job := &job{tenant: m.TenantKey, of: m.ID, done: make(chan struct{})}
	j.byKey[key] = job
	j.total++
	j.running[m.TenantKey]++
	j.all.Go(func() { j.run(job, get) })
	return job
}

func (j *jobs) run(job *job, get func(context.Context) (gateway.Media, error)) {
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
	job.media, job.err = get(j.life)
}

func (j *jobs) forget(key string, done *job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.byKey[key] == done {
		delete(j.byKey, key)
	}
}
