package metrics

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wapro/hub/internal/gateway"
)

const (
	readTime   = 3 * time.Second  // bounds what one look at everything may take
	keepFor    = 10 * time.Second // how long what was read is shown again
	countLimit = 10_000           // messages that are counted of one tenant's lane
	orphanAge  = 30 * time.Second // two leases by default: by then another worker has taken a session over
)

// Truth is what SQL says of the whole hub. Each process shows it: dashboards take the maximum of all, not the sum.
type Truth interface {
	Ping(ctx context.Context) error
	// Backlogs tells what waits by lane; of one tenant's lane no more than limit messages are counted.
	Backlogs(ctx context.Context, limit int) ([]gateway.LaneBacklog, error)
	// WebhookBacklog tells how many deliveries are to be made, of each endpoint no more than limit, and since when the oldest event waits; zero: none.
	WebhookBacklog(ctx context.Context, limit int) (waiting int, oldest time.Time, err error)
	SessionStates(ctx context.Context) (map[gateway.SessionState]int, error)
	// Shares tells who holds how many sessions; an orphan is one that nobody has held for longer than patience.
	Shares(ctx context.Context, patience time.Duration) (gateway.Shares, error)
}

// Sources are where the state of things is read.
type Sources struct {
	Truth    Truth
	Redis    func(context.Context) error // whether it answers
	Instance string                      // names this process as an owner of leases
	Folders  map[string]string           // on whose disks room is needed, by what they hold
	Clock    func() time.Time            // nil: time.Now
}

// Watch has the state of things shown. It is read when somebody asks, at most every ten seconds, and each time within three.
func (m *Metrics) Watch(s Sources) {
	if s.Clock == nil {
		s.Clock = time.Now
	}
	m.registry.MustRegister(&state{Sources: s, descriptions: newDescriptions()})
}

// state is a prometheus.Collector.
type state struct {
	Sources
	descriptions
	mu    sync.Mutex
	read  time.Time
	shown []prometheus.Metric
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// descriptions are what state shows.
type descriptions struct {
	databaseUp, redisUp, depth, age, hooks, hookAge, sessions, held, orphans, diskFree, diskSize *prometheus.Desc
}

func newDescriptions() descriptions {
	return descriptions{
		databaseUp: describe("wapro_database_up", "Whether the database answered."),
		redisUp:    describe("wapro_redis_up", "Whether Redis, or the embedded broker, answered."),
		depth:      describe("wapro_queue_depth", "Messages of the whole hub that are not finished, by lane; of one tenant's lane 10000 at most are counted.", "lane"),
		age:        describe("wapro_queue_oldest_seconds", "How long the oldest message of a lane has waited for its turn or its session; what is held, backing off or scheduled does not count.", "lane"),
		hooks:      describe("wapro_webhook_backlog", "Deliveries of the whole hub that are still to be made to endpoints that are not disabled; of one endpoint 10000 at most are counted."),
		hookAge:    describe("wapro_webhook_oldest_seconds", "How long ago the oldest event happened that is still to be delivered."),
		sessions:   describe("wapro_sessions", "Sessions of the whole hub by state.", "state"),
		held:       describe("wapro_leases_held", "Sessions that this process holds."),
		orphans:    describe("wapro_sessions_orphaned", "Sessions of the whole hub that no worker has held for 30 s."),
		diskFree:   describe("wapro_disk_free_bytes", "Room on the disk that holds it, for who is not root.", "holds"),
		diskSize:   describe("wapro_disk_size_bytes", "Size of the disk that holds it.", "holds"),
	}
}

// Describe implements prometheus.Collector.
func (s *state) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.databaseUp, s.redisUp, s.depth, s.age, s.hooks, s.hookAge, s.sessions, s.held, s.orphans, s.diskFree, s.diskSize,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out, so that nobody takes old numbers for new ones.
func (s *state) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.Clock(); s.read.IsZero() || now.Sub(s.read) >= keepFor || now.Before(s.read) {
		ctx, cancel := context.WithTimeout(context.Background(), readTime)
		s.shown = s.look(ctx, now)
		cancel()
		s.read = now
	}
	for _, shown := range s.shown {
		to <- shown
	}
}

func (s *state) look(ctx context.Context, now time.Time) (shown []prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		shown = append(shown, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...))
	}
	answers := func(d *prometheus.Desc, err error) bool {
		if err != nil {
			gauge(d, 0)
			return false
		}
		gauge(d, 1)
		return true
	}
	for holds, folder := range s.Folders {
		var disk syscall.Statfs_t
		if syscall.Statfs(folder, &disk) == nil {
			gauge(s.diskFree, float64(disk.Bavail)*float64(disk.Bsize), holds)
			gauge(s.diskSize, float64(disk.Blocks)*float64(disk.Bsize), holds)
		}
	}
	redis := make(chan error, 1)
	go func() { redis <- s.Redis(ctx) }()
	defer func() { answers(s.redisUp, <-redis) }()
	if !answers(s.databaseUp, s.Truth.Ping(ctx)) {
		return shown
	}
	if lanes, err := s.Truth.Backlogs(ctx, countLimit); err == nil {
		for _, lane := range lanes {
			gauge(s.depth, float64(lane.Waiting), string(lane.Lane))
			age := 0.0
			if !lane.Oldest.IsZero() {
				age = max(0, now.Sub(lane.Oldest).Seconds())
			}
			gauge(s.age, age, string(lane.Lane))
		}
	}
	if waiting, oldest, err := s.Truth.WebhookBacklog(ctx, countLimit); err == nil {
		gauge(s.hooks, float64(waiting))
		age := 0.0
		if !oldest.IsZero() {
			age = max(0, now.Sub(oldest).Seconds())
		}
		gauge(s.hookAge, age)
	}
	if states, err := s.Truth.SessionStates(ctx); err == nil {
		for _, state := range gateway.SessionStates() {
			gauge(s.sessions, float64(states[state]), string(state))
		}
	}
	if shares, err := s.Truth.Shares(ctx, orphanAge); err == nil {
		gauge(s.held, float64(shares.Held[s.Instance]))
		gauge(s.orphans, float64(shares.Orphans))
	}
	return shown
}
