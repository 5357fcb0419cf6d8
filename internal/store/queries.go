package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Ask stores a question and tells the owner of the session of it. CodeRateLimited when gateway.MaxOpenQueries of the tenant wait for their answer,
// CodeNotFound when the tenant is gone. Old questions of everybody are removed on the way.
func (s *Store) Ask(ctx context.Context, q gateway.Query) error {
	return s.write(ctx, "ask the owner of a session", func(t *tx) error {
		now := s.now()
		if _, err := t.exec(`DELETE FROM queries WHERE id IN (SELECT id FROM queries WHERE created_at < $1 ORDER BY created_at LIMIT 100)`,
			micros(now.Add(-gateway.QueriesKept))); err != nil {
			return err
		}
		var open int
		if err := t.row(`SELECT COUNT(*) FROM queries WHERE tenant_key = $1 AND kind = $2 AND answered_at = 0 AND created_at > $3`,
			q.TenantKey, q.Kind, micros(now.Add(-gateway.MediaPatience))).Scan(&open); err != nil {
			return err
		}
		if open >= gateway.MaxOpenQueries {
			return gateway.Errorf(gateway.CodeRateLimited, "%d questions of this kind wait for their answer already", open)
		}
		n, err := t.exec(s.d.sql(`INSERT INTO commands (tenant_key, kind, phone, query, created_at)
			SELECT tenant_key, $2, '', $3, CAST($4 AS BIGINT) FROM sessions WHERE tenant_key = $1 {share}`), q.TenantKey, gateway.CommandQuery, q.ID, micros(now))
		if err == nil && n == 0 {
			err = noTenant()
		}
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO queries (id, tenant_key, kind, question, created_at) VALUES ($1, $2, $3, $4, $5)`,
			q.ID, q.TenantKey, q.Kind, q.Question, micros(now))
		return err
	})
}

// Query reads a question of a tenant and what was answered. CodeNotFound.
func (s *Store) Query(ctx context.Context, tenantKey int64, id string) (gateway.Query, error) {
	q, err := scanQuery(s.readRow(ctx, selectQuery+`WHERE id = $1 AND tenant_key = $2`, id, tenantKey))
	if errors.Is(err, sql.ErrNoRows) {
		return q, gateway.Errorf(gateway.CodeNotFound, "there is no such question")
	}
	if err != nil {
		return q, s.wrap("read a question", err)
	}
	return q, nil
}

// LastQuery reads the newest question of a kind that was answered since, nil when there is none.
func (s *Store) LastQuery(ctx context.Context, tenantKey int64, kind gateway.QueryKind, since time.Time) (*gateway.Query, error) {
	q, err := scanQuery(s.readRow(ctx, selectQuery+`WHERE tenant_key = $1 AND kind = $2 AND answered_at > $3 AND code = '' ORDER BY answered_at DESC LIMIT 1`,
		tenantKey, kind, micros(since)))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, s.wrap("read an answer", err)
	}
	return &q, nil
}

// AnswerQuery stores the answer to a question; a later one does not replace it.
func (s *Store) AnswerQuery(ctx context.Context, q gateway.Query) error {
	return s.write(ctx, "answer a question", func(t *tx) error {
		_, err := t.exec(`UPDATE queries SET answer = $1, code = $2, detail = $3, answered_at = $4 WHERE id = $5 AND tenant_key = $6 AND answered_at = 0`,
			q.Answer, q.Code, q.Detail, micros(s.now()), q.ID, q.TenantKey)
		return err
	})
}

const selectQuery = `SELECT id, tenant_key, kind, question, answer, code, detail, created_at, answered_at FROM queries `

func scanQuery(row scanner) (q gateway.Query, err error) {
	var created, answered int64
	err = row.Scan(&q.ID, &q.TenantKey, &q.Kind, &q.Question, &q.Answer, &q.Code, &q.Detail, &created, &answered)
	q.CreatedAt, q.Answered = fromMicros(created), fromMicros(answered)
	return q, err
}

// NumberChecks reads what is known about numbers since, by number, and how many were asked about in the last hour.
func (s *Store) NumberChecks(ctx context.Context, tenantKey int64, numbers []string, since time.Time) (known map[string]gateway.NumberCheck, lastHour int, err error) {
	known = map[string]gateway.NumberCheck{}
	err = s.inParts(numbers, func(list string, args []any) error {
		args = append(args, tenantKey, micros(since))
		rows, err := s.read(ctx, `SELECT number, jid, checked_at FROM number_checks WHERE number IN (`+list+`) AND tenant_key = $`+strconv.Itoa(len(args)-1)+
			` AND checked_at > $`+strconv.Itoa(len(args)), args...)
		part, err := all(rows, err, func(row scanner) (c gateway.NumberCheck, err error) {
			var at int64
			err = row.Scan(&c.Number, &c.JID, &at)
			c.OnWhatsApp, c.CheckedAt = c.JID != "", fromMicros(at)
			return c, err
		})
		for _, c := range part {
			known[c.Number] = c
		}
		return err
	})
	if err == nil {
		err = s.readRow(ctx, `SELECT COUNT(*) FROM number_checks WHERE tenant_key = $1 AND checked_at > $2`, tenantKey, micros(s.now().Add(-time.Hour))).Scan(&lastHour)
	}
	if err != nil {
		return nil, 0, s.wrap("look up numbers", err)
	}
	return known, lastHour, nil
}

// KeepNumberChecks remembers what WhatsApp said, and forgets what is too old to be believed. Of a tenant that is gone nothing is kept.
func (s *Store) KeepNumberChecks(ctx context.Context, tenantKey int64, checks []gateway.NumberCheck) error {
	return s.write(ctx, "keep what is known about numbers", func(t *tx) error {
		var one int // locked: what is added behind a deletion would keep the tenant's row for ever
		err := t.row(s.d.sql(`SELECT 1 FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {share}`), tenantKey).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM number_checks WHERE tenant_key = $1 AND checked_at < $2`, tenantKey, micros(s.now().Add(-gateway.NumberCheckAge))); err != nil {
			return err
		}
		for _, c := range checks {
			if _, err := t.exec(`INSERT INTO number_checks (tenant_key, number, jid, checked_at) VALUES ($1, $2, $3, $4)
				ON CONFLICT (tenant_key, number) DO UPDATE SET jid = excluded.jid, checked_at = excluded.checked_at`,
				tenantKey, c.Number, c.JID, micros(c.CheckedAt)); err != nil {
				return err
			}
		}
		return nil
	})
}
