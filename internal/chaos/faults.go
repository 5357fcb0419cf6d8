package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/wasim"
)

// everyTenant marks a fault that is not one tenant's.
const everyTenant = -1

// kind is one way to break the hub or its surroundings.
type kind struct {
	name   string
	shapes []shape
	draw   func(o options, r *rand.Rand, f *fault) // chooses the details
	strike func(w *world, f *fault) error          // returns when the fault is over
}

// fault is one of a plan.
type fault struct {
	kind   *kind
	at     time.Duration // from the beginning
	tenant int           // or everyTenant
	node   int           // which worker or API
	lasts  time.Duration
	gently bool // stop instead of kill
	script []wasim.Fault

	began, ended time.Time // filled in when it happens
}

func (f *fault) String() string {
	text := f.kind.name
	if f.tenant != everyTenant {
		text += " of " + tenantID(f.tenant)
	}
	for _, s := range f.script {
		text += fmt.Sprintf(" (%s %s code %d, %d times)", s.Kind, s.Match, s.Code, max(s.Times, 1))
	}
	return text
}

// plan draws the faults of a run: as many of each kind as of any other, in an order and at times that follow from the seed.
func plan(o options, s shape) []*fault {
	random := rand.New(rand.NewPCG(o.seed, uint64(len(s))<<32))
	var possible []*kind
	for _, k := range kinds() {
		if slices.Contains(k.shapes, s) {
			possible = append(possible, &k)
		}
	}
	total := o.faults
	if o.each > 0 {
		total = o.each * len(possible)
	}
	var faults []*fault
	for len(faults) < total {
		for _, i := range random.Perm(len(possible)) {
			if len(faults) == total {
				break
			}
			f := &fault{kind: possible[i], tenant: everyTenant, at: time.Duration(float64(total) * float64(o.pace) * random.Float64())}
			f.kind.draw(o, random, f)
			faults = append(faults, f)
		}
	}
	slices.SortStableFunc(faults, func(a, b *fault) int { return cmp.Compare(a.at, b.at) })
	return faults
}

// strikeAll lets every fault happen at its time, however long earlier ones take, and returns when all are over.
func (w *world) strikeAll(faults []*fault) {
	var striking sync.WaitGroup
	defer striking.Wait()
	for i, f := range faults {
		if wait := time.Until(w.epoch.Add(f.at)); wait > 0 && !w.pause(wait) {
			return
		}
		if i%50 == 0 && i > 0 {
			w.logf("%d of %d faults", i, len(faults))
		}
		striking.Go(func() {
			f.began = time.Now()
			if err := f.kind.strike(w, f); err != nil && w.ctx.Err() == nil {
				w.t.Errorf("%s: %v", f, err)
			}
			f.ended = time.Now()
		})
	}
}

// calm ends what faults are still planned for.
func (w *world) calm() {
	if status, body, err := w.sandbox.call(w.ctx, http.MethodDelete, "/sandbox/faults", nil, nil); err != nil || status != http.StatusNoContent {
		w.t.Errorf("clear the simulator's faults: %d %s %v", status, body, err)
	}
}

// kinds lists every kind.
func kinds() []kind {
	cluster, single, anywhere := []shape{onPostgres}, []shape{embedded}, []shape{onPostgres, embedded}
	worker := func(w *world, f *fault) *node { return w.workers[f.node] }
	api := func(w *world, f *fault) *node { return w.apis[f.node] }
	postgres := func(w *world) *service { return w.postgres }
	redis := func(w *world) *service { return w.redis }
	whichNode := func(o options, r *rand.Rand, f *fault) { f.node = r.IntN(o.workers) }
	hub := func(options, *rand.Rand, *fault) {}
	return []kind{
		{"worker killed", cluster, whichNode, end(worker, syscall.SIGKILL)},
		{"worker terminated", cluster, whichNode, end(worker, syscall.SIGTERM)},
		{"worker stopped past its lease", cluster, func(o options, r *rand.Rand, f *fault) {
			whichNode(o, r, f)
			f.lasts = o.lease + between(r, 1*time.Second, 4*time.Second)
		}, stopWorker},
		{"API killed", cluster, whichNode, end(api, syscall.SIGKILL)},
		{"API terminated", cluster, whichNode, end(api, syscall.SIGTERM)},
		{"Redis killed", cluster, away(0), restart(redis)},
		{"Redis wiped", cluster, hub, wipeRedis},
		{"Postgres restarted", cluster, away(50), restart(postgres)},
		{"hub killed", single, hub, end(api, syscall.SIGKILL)},
		{"hub terminated", single, hub, end(api, syscall.SIGTERM)},

		{"socket cut before the message is taken", anywhere, scripted(wasim.DropBeforeAccept, 1, 2), script},
		{"socket cut after the message is taken", anywhere, scripted(wasim.DropAfterAccept, 1, 1), script},
		{"socket cut twice after that", anywhere, scripted(wasim.DropAfterAccept, 2, 3), script},
		{"acknowledgement withheld", anywhere, scripted(wasim.WithholdAck, 1, 1), script},
		{"acknowledgements late", anywhere, scripted(wasim.DelayAck, 2, 6), script},
		{"message refused for now", anywhere, scripted(wasim.AckError, 1, 3, 420, 429, 500, 503), script},
		{"query fails", anywhere, scripted(wasim.IQError, 1, 2, 500, 503), scriptQuery},
		{"query not answered", anywhere, early(scripted(wasim.IQSilent, 1, 1)), scriptQuery},
		{"upload fails", anywhere, failedUpload, script},
		{"new contact refused (463)", anywhere, scripted(wasim.AckError, 1, 2, 463), restrict},
		{"queries limited (429)", anywhere, scripted(wasim.IQError, 1, 2, 429), restrict},
		{"new contacts forbidden for a time", anywhere, forbidden, scriptQuery},
		{"stream error", anywhere, scripted(wasim.StreamError, 1, 1, 503, 515), script},
		{"login refused", anywhere, refusedLogin, script},
		{"slow line", anywhere, scripted(wasim.Latency, 1, 1), script},
	}
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// away draws how long a server is gone, and in percent how often it is stopped rather than killed.
func away(gently int) func(options, *rand.Rand, *fault) {
	return func(_ options, r *rand.Rand, f *fault) {
		f.lasts, f.gently = between(r, 200*time.Millisecond, 4*time.Second), r.IntN(100) < gently
	}
}

// scripted draws a tenant and what the simulator does to it: how often, and with which code.
func scripted(what wasim.FaultKind, least, most int, codes ...int) func(options, *rand.Rand, *fault) {
	return func(o options, r *rand.Rand, f *fault) {
		f.tenant = r.IntN(o.tenants)
		s := wasim.Fault{Kind: what, Account: tenantNumber(f.tenant), Times: least + r.IntN(most-least+1)}
		if len(codes) > 0 {
			s.Code = codes[r.IntN(len(codes))]
		}
		switch what {
		case wasim.IQError, wasim.IQSilent:
			queries := []string{"prekeys", "usync-devices", "usync-lid"}
			s.Match = queries[r.IntN(len(queries))]
		case wasim.DelayAck:
			s.Delay = between(r, 100*time.Millisecond, 3*time.Second)
		case wasim.Latency:
			s.Delay, s.Expire = between(r, 50*time.Millisecond, 400*time.Millisecond), time.Duration(2+r.IntN(5))*time.Second
		default:
		}
		f.script = []wasim.Fault{s}
	}
}

// failedUpload hits whoever is the next to upload a file.
func failedUpload(_ options, r *rand.Rand, f *fault) {
	f.script = []wasim.Fault{{Kind: wasim.UploadError, Code: 500 + 3*r.IntN(2), Times: 1 + r.IntN(2)}}
}

// early is for what may take a minute: it happens in the first half of a run, so that the end need not be waited for.
func early(draw func(options, *rand.Rand, *fault)) func(options, *rand.Rand, *fault) {
	return func(o options, r *rand.Rand, f *fault) {
		draw(o, r, f)
		f.at /= 2
	}
}

// leastTimelock is the shortest restriction that a client is told of: its end is a whole second, and must be still to come.
const leastTimelock = 3 * time.Second

// timelock is the word that a tenant may not write to new contacts for a time.
func timelock(tenant int, lasts time.Duration) wasim.Fault {
	return wasim.Fault{Kind: wasim.ReachOutTimelock, Account: tenantNumber(tenant), Expire: lasts}
}

func forbidden(o options, r *rand.Rand, f *fault) {
	f.tenant = r.IntN(o.tenants)
	f.script = []wasim.Fault{timelock(f.tenant, between(r, leastTimelock, 10*time.Second).Round(time.Second))}
}

// refusedLogin cuts a connection and refuses the next ones, at the web socket or at the login.
func refusedLogin(o options, r *rand.Rand, f *fault) {
	scripted(wasim.Drop, 1, 1)(o, r, f)
	refusal := wasim.Fault{Kind: wasim.LoginFailure, Account: tenantNumber(f.tenant), Code: 503, Times: 1 + r.IntN(2)}
	if r.IntN(2) == 0 {
		refusal = wasim.Fault{Kind: wasim.UpgradeError, Code: 503, Times: 1 + r.IntN(2)} // nobody has said who they are yet
	}
	f.script = append([]wasim.Fault{refusal}, f.script...)
}

// end signals a process that is to end by it, and waits until its node serves again.
func end(which func(*world, *fault) *node, signal syscall.Signal) func(*world, *fault) error {
	return func(w *world, f *fault) error {
		n := which(w, f)
		p := w.current(n)
		if p == nil {
			return w.ctx.Err()
		}
		p.TrySignal(signal) // it may be ending already, which is a fault of its own
		w.up(n, p)
		return nil
	}
}

// stopWorker stops a worker for longer than its lease lasts, and lets it go on.
func stopWorker(w *world, f *fault) error {
	p := w.current(w.workers[f.node])
	if p == nil {
		return w.ctx.Err()
	}
	p.TrySignal(syscall.SIGSTOP)
	w.pause(f.lasts)
	p.TrySignal(syscall.SIGCONT) // it may have been killed meanwhile
	return nil
}

// restart ends a server and starts it again after a while.
func restart(which func(*world) *service) func(*world, *fault) error {
	return func(w *world, f *fault) error {
		s := which(w)
		s.mu.Lock()
		defer s.mu.Unlock()
		f.began = time.Now() // not while it waited for its turn
		if f.gently {
			s.Stop()
		} else {
			s.Kill()
		}
		w.pause(f.lasts)
		s.Start(w.t)
		return nil
	}
}

func wipeRedis(w *world, f *fault) error {
	w.redis.mu.Lock()
	defer w.redis.mu.Unlock()
	f.began = time.Now()
	options, err := redis.ParseURL(w.redis.URL)
	if err != nil {
		return fmt.Errorf("read the URL of Redis: %w", err)
	}
	conn := redis.NewClient(options)
	defer conn.Close() //nolint:errcheck // it was only asked for this
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	return conn.FlushAll(ctx).Err()
}

// script plans the simulator's faults. But for a slow line it counts as over at once: what follows is the time it takes to recover.
func script(w *world, f *fault) error {
	for _, s := range f.script {
		if _, err := w.plant(s); err != nil {
			return err
		}
		if s.Kind == wasim.Latency {
			w.pause(s.Expire)
		}
	}
	return nil
}

// scriptQuery makes the tenant write to somebody new, for only then is anything asked, or forbidden.
func scriptQuery(w *world, f *fault) error {
	err := script(w, f)
	w.meet(f.tenant, w.stranger())
	return err
}

// meet has the tenant's next message go to number.
func (w *world) meet(tenant int, number string) {
	select {
	case w.strangers[tenant] <- number:
	default: // it offers nothing any more
	}
}

// restrict refuses what the tenant tries with somebody new. The hub cannot know for how long and holds such messages for an hour; each
// time that it was refused the server tells it, a little later, that it is for some seconds only.
func restrict(w *world, f *fault) error {
	refusal := f.script[0]
	refusal.To, refusal.Match = w.stranger(), ""
	id, err := w.plant(refusal)
	if err != nil {
		return err
	}
	w.meet(f.tenant, refusal.To)
	left := refusal.Times
	for left > 0 && w.pause(200*time.Millisecond) {
		select {
		case <-w.offered: // what still waits is told by allow
			return nil
		default:
		}
		now, err := w.remaining(id)
		if err != nil {
			return err
		}
		if now == left {
			continue
		}
		left = now
		w.pause(time.Second)
		if _, err := w.plant(timelock(f.tenant, leastTimelock)); err != nil {
			return err
		}
	}
	return nil
}

// remaining is how often a scripted fault is still to happen.
func (w *world) remaining(id string) (int, error) {
	var answer struct {
		Data []struct {
			ID        string `json:"id"`
			Remaining int    `json:"remaining"`
		} `json:"data"`
	}
	if err := w.read(w.sandbox, http.MethodGet, "/sandbox/faults", nil, &answer); err != nil {
		return 0, err
	}
	for _, f := range answer.Data {
		if f.ID == id {
			return f.Remaining, nil
		}
	}
	return 0, nil
}

// plant scripts one fault and returns its id.
func (w *world) plant(s wasim.Fault) (id string, err error) {
	var answer struct {
		ID string `json:"id"`
	}
	status, body, err := w.sandbox.call(w.ctx, http.MethodPost, "/sandbox/faults", map[string]any{
		"kind": s.Kind, "account": s.Account, "to": s.To, "match": s.Match, "code": s.Code, "delayMs": s.Delay.Milliseconds(),
		"expireSeconds": int(s.Expire.Seconds()), "times": max(s.Times, 1),
	}, &answer)
	if err == nil && status != http.StatusCreated {
		err = errors.New(body)
	}
	if err != nil {
		return "", fmt.Errorf("script %s: %w", s.Kind, err)
	}
	return answer.ID, nil
}
