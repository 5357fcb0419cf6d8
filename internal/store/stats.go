package store

import (
	"context"
	"math"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// acceptSlack is by how much the order of acceptance may differ from that of CreatedAt: processes with different clocks, bulks
// that take long to be stored.
const acceptSlack = 2 * time.Minute

// Stats counts what happened to a tenant's messages in each slice of w, whose Step is at least a microsecond. It looks at the newest
// limit messages of each kind; when there are more, it leaves out the slices that it cannot tell for certain: the first of those
// it returns begins later then. No message of a bulk that is not accepted yet is counted.
func (s *Store) Stats(ctx context.Context, tenantKey int64, w gateway.StatsWindow, limit int) ([]gateway.StatsBucket, error) {
	buckets := make([]gateway.StatsBucket, w.Buckets())
	for i := range buckets {
		buckets[i].At = w.From.Add(time.Duration(i) * w.Step)
	}
	from, until, step := micros(w.From), micros(w.Until), w.Step.Microseconds()
	first := 0 // the first slice that is counted whole
	count := func(query string, add func(b *gateway.StatsBucket, counts [3]int), more ...any) error {
		args := append([]any{tenantKey, from, until, step, limit}, more...)
		rows, err := s.read(ctx, query, args...)
		looked, oldest := 0, 0
		found, err := all(rows, err, func(row scanner) (one statsRow, err error) {
			return one, row.Scan(&one.slice, &one.counts[0], &one.counts[1], &one.counts[2])
		})
		if err != nil {
			return s.wrap("count messages over time", err)
		}
		for i, one := range found {
			add(&buckets[one.slice], one.counts)
			if looked += one.counts[0]; i == 0 || one.slice < oldest {
				oldest = one.slice
			}
		}
		if looked >= limit {
			first = max(first, oldest+1)
		}
		return nil
	}

	low, err := s.seqAt(ctx, tenantKey, w.From.Add(-acceptSlack))
	if err != nil {
		return nil, s.wrap("find the first message of a time", err)
	}
	high := int64(math.MaxInt64)
	if end := w.Until.Add(acceptSlack); end.Before(s.now()) {
		if high, err = s.seqAt(ctx, tenantKey, end); err != nil {
			return nil, s.wrap("find the last message of a time", err)
		}
	}
	if err := count(`SELECT (created_at - $2) / $4, COUNT(*), 0, 0 FROM (
			SELECT created_at FROM messages WHERE tenant_key = $1 AND seq >= $6 AND seq < $7 AND created_at >= $2 AND created_at < $3
				AND (phase <> 'staged' OR bulk_id NOT IN `+hiddenBulks+`) ORDER BY seq DESC LIMIT $5) newest
			GROUP BY 1`,
		func(b *gateway.StatsBucket, n [3]int) { b.Accepted += n[0] }, low, high); err != nil {
		return nil, err
	}
	if err := count(`SELECT (sent_at - $2) / $4, COUNT(*), SUM(CASE WHEN delivered_at <> 0 THEN 1 ELSE 0 END), SUM(CASE WHEN read_at <> 0 THEN 1 ELSE 0 END) FROM (
			SELECT sent_at, delivered_at, read_at FROM messages WHERE tenant_key = $1 AND sent_at <> 0 AND sent_at >= $2 AND sent_at < $3
				ORDER BY sent_at DESC LIMIT $5) newest
			GROUP BY 1`,
		func(b *gateway.StatsBucket, n [3]int) {
			b.Sent, b.Delivered, b.Read = b.Sent+n[0], b.Delivered+n[1], b.Read+n[2]
		}); err != nil {
		return nil, err
	}
	if err := count(`SELECT (failed_at - $2) / $4, COUNT(*), 0, 0 FROM (
			SELECT failed_at FROM messages WHERE tenant_key = $1 AND failed_at <> 0 AND failed_at >= $2 AND failed_at < $3
				ORDER BY failed_at DESC LIMIT $5) newest
			GROUP BY 1`,
		func(b *gateway.StatsBucket, n [3]int) { b.Failed += n[0] }); err != nil {
		return nil, err
	}
	// There are few of them: no index tells when they ended.
	if err := count(`SELECT (updated_at - $2) / $4, COUNT(*), 0, 0 FROM (
			SELECT updated_at FROM messages WHERE tenant_key = $1 AND ended = 'unknown' AND ended <> ''
				AND updated_at >= $2 AND updated_at < $3 ORDER BY seq DESC LIMIT $5) newest
			GROUP BY 1`,
		func(b *gateway.StatsBucket, n [3]int) { b.Unknown += n[0] }); err != nil {
		return nil, err
	}
	return buckets[min(first, len(buckets)):], nil
}

// statsRow is a slice that something happened in.
type statsRow struct {
	slice  int
	counts [3]int
}

// seqAt finds a Seq that parts a tenant's messages into those accepted before at and the others, as far as the order of acceptance
// is that of CreatedAt; one above all of them when all were accepted before.
func (s *Store) seqAt(ctx context.Context, tenantKey int64, at time.Time) (int64, error) {
	var last int64
	if err := s.readRow(ctx, `SELECT COALESCE(MAX(seq), 0) FROM messages WHERE tenant_key = $1`, tenantKey).Scan(&last); err != nil {
		return 0, err
	}
	low, high := int64(1), last+1
	for low < high {
		middle := low + (high-low)/2
		var seq, created int64 // numbers of rows that were refused are missing
		err := s.readRow(ctx, `SELECT seq, created_at FROM messages WHERE tenant_key = $1 AND seq >= $2 ORDER BY seq LIMIT 1`, tenantKey, middle).
			Scan(&seq, &created)
		switch {
		case err != nil:
			return 0, err
		case created < micros(at):
			low = seq + 1
		default:
			high = middle
		}
	}
	return low, nil
}
