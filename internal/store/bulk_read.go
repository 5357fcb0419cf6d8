package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// BulkCounts counts the messages of bulks of a tenant by their status, at one moment: those of a bulk add up to its Total. It reads
// all of them; SQLite an index alone.
func (s *Store) BulkCounts(ctx context.Context, tenantKey int64, ids []string) (map[string]gateway.BulkCounts, error) {
	counts := make(map[string]gateway.BulkCounts, len(ids))
	for _, id := range ids {
		counts[id] = gateway.BulkCounts{}
	}
	err := s.inParts(ids, func(list string, args []any) error {
		args = append(args, tenantKey)
		rows, err := s.read(ctx, `SELECT bulk_id, status, COUNT(*) FROM messages
			WHERE bulk_id IN (`+list+`) AND bulk_id <> '' AND tenant_key = $`+strconv.Itoa(len(args))+` GROUP BY bulk_id, status`, args...)
		_, err = all(rows, err, func(row scanner) (none struct{}, err error) {
			var id string
			var status gateway.Status
			var n int
			err = row.Scan(&id, &status, &n)
			counts[id][status] = n
			return none, err
		})
		return err
	})
	if err != nil {
		return nil, s.wrap("count messages of bulks", err)
	}
	return counts, nil
}

// BulkInvalid lists rows of a bulk that could not be sent, in their order: at most limit, from after the row after.
func (s *Store) BulkInvalid(ctx context.Context, id string, after, limit int) ([]gateway.BulkInvalid, error) {
	rows, err := s.read(ctx, `SELECT row_number, recipient, code FROM bulk_invalid WHERE bulk_id = $1 AND row_number > $2 ORDER BY row_number LIMIT $3`,
		id, after, limit)
	list, err := all(rows, err, func(row scanner) (r gateway.BulkInvalid, err error) { return r, row.Scan(&r.Row, &r.To, &r.Code) })
	if err != nil {
		return nil, s.wrap("list invalid rows", err)
	}
	return list, nil
}

// BulkMessages lists messages of a bulk in the order of its rows: at most limit, with a Seq above after, and only those in one
// of statuses unless there are none.
func (s *Store) BulkMessages(ctx context.Context, tenantKey int64, id string, after int64, statuses []gateway.Status, limit int,
) ([]gateway.Message, error) {
	var where strings.Builder
	where.WriteString(`WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND seq > $3`)
	args := []any{tenantKey, id, after}
	if len(statuses) > 0 {
		where.WriteString(` AND status IN (` + placeholders(len(args)+1, len(statuses)) + `)`)
		for _, status := range statuses {
			args = append(args, status)
		}
	}
	args = append(args, limit)
	rows, err := s.read(ctx, selectMessage+where.String()+` ORDER BY seq LIMIT $`+strconv.Itoa(len(args)), args...)
	list, err := all(rows, err, scanMessage)
	if err != nil {
		return nil, s.wrap("list messages of a bulk", err)
	}
	return list, nil
}

// Repetitions lists what became of messages of a tenant, by their ids, and of all that repeat them, that they repeat, or that repeat the same one, at
// whatever remove. What belongs to a bulk that is not accepted is not among them, nor what was canceled with the bulk that repeated it: another may take
// its place.
func (s *Store) Repetitions(ctx context.Context, tenantKey int64, ids []string) (map[string][]gateway.Repetition, error) {
	found := map[string][]gateway.Repetition{}
	err := s.inParts(ids, func(list string, args []any) error {
		tenant := `$` + strconv.Itoa(len(args)+1)
		rows, err := s.read(ctx, strings.NewReplacer("{list}", list, "{tenant}", tenant, "{hidden}", strings.ReplaceAll(hiddenBulks, "$1", tenant)).Replace(selectRepetitions),
			append(args, tenantKey)...)
		_, err = all(rows, err, func(row scanner) (none struct{}, err error) {
			var of string
			var r gateway.Repetition
			err = row.Scan(&of, &r.Status, &r.Code, &r.Uncertain)
			found[of] = append(found[of], r)
			return none, err
		})
		return err
	})
	if err != nil {
		return nil, s.wrap("list what repeats messages", err)
	}
	return found, nil
}

// From each message up to the one that was sent first, and from there down again.
const selectRepetitions = `WITH RECURSIVE up (of_id, id, retry_of) AS (
		SELECT m.id, m.id, m.retry_of FROM messages m WHERE m.id IN ({list}) AND m.tenant_key = {tenant}
		UNION SELECT u.of_id, m.id, m.retry_of FROM up u JOIN messages m ON m.id = u.retry_of AND m.tenant_key = {tenant}),
	again (of_id, id) AS (
		SELECT u.of_id, u.id FROM up u
		UNION SELECT a.of_id, m.id FROM again a
			JOIN messages m ON m.tenant_key = {tenant} AND m.retry_of = a.id AND m.retry_of <> '' AND m.bulk_id NOT IN {hidden})
	SELECT a.of_id, m.status, m.error_code, m.uncertain FROM again a JOIN messages m ON m.id = a.id
	WHERE NOT (m.retry_of <> '' AND (m.status = 'canceled' OR m.error_code = 'canceled_by_operator')
		AND EXISTS (SELECT 1 FROM bulks b WHERE b.id = m.bulk_id AND b.tenant_key = {tenant} AND b.status = 'canceled'))`
