package store

import (
	"context"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// What tenants do not want to keep. Messages are walked over in the order of their numbers, a step at a time: nobody pays for an index of
// their last change, which every status would have to move them in.

// over is what may be forgotten of a tenant's messages from $2 to $3: those that have ended, and not changed since $4.
const over = `tenant_key = $1 AND seq >= $2 AND seq <= $3 AND status NOT IN ('scheduled', 'queued', 'sending') AND in_flight = '' AND updated_at < $4`

// ForgetMessages looks at up to limit messages that were accepted after the one numbered after, and removes those that ended and last changed before
// that time, with their history; those of bulks are left to ForgetBulks. It returns how many it removed, and the number to go on after: 0 when all that
// follow were accepted later than that time.
func (s *Store) ForgetMessages(ctx context.Context, tenantKey int64, before time.Time, after int64, limit int) (removed int, next int64, err error) {
	return s.forgetStep(ctx, "remove old messages", tenantKey, before, after, limit, `bulk_id = ''`,
		`DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE `+over+` AND bulk_id = '' ORDER BY seq {skip})`)
}

// DropTexts is ForgetMessages for what messages say, those of bulks included: the message stays, without its text, its file's name and its content.
func (s *Store) DropTexts(ctx context.Context, tenantKey int64, before time.Time, after int64, limit int) (dropped int, next int64, err error) {
	const has = `content <> '{"dropped":true}'`
	return s.forgetStep(ctx, "drop old texts", tenantKey, before, after, limit, has,
		`UPDATE messages SET body = '', media_filename = '', content = '{"dropped":true}' WHERE id IN (SELECT id FROM messages WHERE `+over+` AND `+has+` ORDER BY seq {skip})`)
}

// forgetStep runs change over the messages that one step looks at, if it would change any.
func (s *Store) forgetStep(ctx context.Context, what string, tenantKey int64, before time.Time, after int64, limit int, which, change string) (changed int, next int64, err error) {
	type look struct {
		seq, created int64
		over         bool
	}
	// $2 and $3 are as in over. No more than limit rows are read.
	rows, err := s.read(ctx, `SELECT seq, created_at, CASE WHEN `+over+` AND `+which+` THEN 1 ELSE 0 END FROM messages
		WHERE tenant_key = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq LIMIT $5`, tenantKey, after+1, int64(1)<<62, micros(before), limit)
	looks, err := all(rows, err, func(row scanner) (l look, err error) {
		var n int
		err = row.Scan(&l.seq, &l.created, &n)
		l.over = n != 0
		return l, err
	})
	if err != nil {
		return 0, 0, s.wrap(what, err)
	}
	found := false
	for _, l := range looks {
		found = found || l.over
		next = l.seq
	}
	last := next
	if len(looks) < limit || looks[len(looks)-1].created >= micros(before) {
		next = 0
	}
	if !found {
		return 0, next, nil
	}
	err = s.write(ctx, what, func(t *tx) error {
		n, err := t.exec(s.d.sql(change), tenantKey, after+1, last, micros(before))
		changed = int(n)
		return err
	})
	return changed, next, err
}

// ForgetBulks gives up to limit of a tenant's bulks that ended before that time up, whole: they are gone at once, and the worker's next sweep removes their
// messages in small steps (StaleBulks). A bulk with messages that are not finished stays.
func (s *Store) ForgetBulks(ctx context.Context, tenantKey int64, before time.Time, limit int) (int, error) {
	var waiting int
	const ended = `tenant_key = $1 AND finished_at > 0 AND finished_at < $2`
	if err := s.readRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM bulks WHERE `+ended+` LIMIT 1) b`, tenantKey, micros(before)).Scan(&waiting); err != nil {
		return 0, s.wrap("look for old bulks", err)
	}
	if waiting == 0 {
		return 0, nil
	}
	var n int64
	err := s.write(ctx, "remove old bulks", func(t *tx) (err error) {
		n, err = t.exec(s.d.sql(`UPDATE bulks SET status = 'discarding', finished_at = 0 WHERE id IN (SELECT b.id FROM bulks b WHERE b.`+ended+`
			AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.tenant_key = $1 AND m.bulk_id = b.id AND m.bulk_id <> ''
				AND m.status IN ('scheduled', 'queued', 'sending') AND m.phase > '')
			ORDER BY b.id LIMIT $3 {skip})`), tenantKey, micros(before), limit)
		return err
	})
	return int(n), err
}

// ForgetInbound removes those of a tenant's limit oldest received messages that came before that time. Their ids are in the order in which they came.
func (s *Store) ForgetInbound(ctx context.Context, tenantKey int64, before time.Time, limit int) (int, error) {
	var old int
	const head = `SELECT id FROM (SELECT id, received_at FROM inbound_messages WHERE tenant_key = $1 ORDER BY id LIMIT $3) head WHERE received_at < $2`
	if err := s.readRow(ctx, `SELECT COUNT(*) FROM (`+head+`) old`, tenantKey, micros(before), limit).Scan(&old); err != nil {
		return 0, s.wrap("look for old received messages", err)
	}
	if old == 0 {
		return 0, nil
	}
	var n int64
	err := s.write(ctx, "remove old received messages", func(t *tx) (err error) {
		n, err = t.exec(`DELETE FROM inbound_messages WHERE id IN (`+head+`)`, tenantKey, micros(before), limit)
		return err
	})
	return int(n), err
}

// Retentions lists the tenants that do not keep everything, with what they chose.
func (s *Store) Retentions(ctx context.Context) (map[int64]gateway.Retention, error) {
	rows, err := s.read(ctx, `SELECT tenant_key, keep_messages, keep_text, keep_events FROM tenants
		WHERE deleted_at = 0 AND (keep_messages > 0 OR keep_text > 0 OR keep_events > 0)`)
	chosen := map[int64]gateway.Retention{}
	_, err = all(rows, err, func(row scanner) (none struct{}, err error) {
		var key int64
		var r gateway.Retention
		err = row.Scan(&key, &r.Messages, &r.Text, &r.Events)
		chosen[key] = r
		return none, err
	})
	if err != nil {
		return nil, s.wrap("list retentions", err)
	}
	return chosen, nil
}
