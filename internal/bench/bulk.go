package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wapro/hub/internal/testkit"
)

// bulkRecipients are as many as one bulk may have.
const bulkRecipients, quickRecipients = 100_000, 20_000

// bulkText has a variable, as a bulk's text has.
const bulkText = "Hello {{name}}, this is a message of usual length to a customer, with a link: https://example.com/offers"

// sendBulk measures POST /bulk with as many recipients as one may have, from the request to the 202: the rows are read, checked, rendered
// and stored by then. The baseline is a plain COPY of the same rows into the same tables, in one transaction, by a client that has them in
// memory. There is none on SQLite. What the API's process uses at most meanwhile stands beside it, above what it used before.
func sendBulk(b *bench) {
	h := startHub(b, testkit.StartSimulator(b))
	recipients := bulkRecipients
	if b.quick {
		recipients = quickRecipients
	}
	if b.recipients > 0 {
		recipients = b.recipients
	}
	h.bulk(tenant, quickRecipients/10, "") // connections, statements, caches
	what := fmt.Sprintf("a bulk of %d", recipients)
	rate, memory := row{what: what + ": accepted", unit: "/s"}, row{what: what + ": the API's memory above idle", unit: " MiB"}
	for range b.pairs {
		idle := h.apiUsage()
		resetPeak(b, h.api.PID())
		id, took := h.bulk(tenant, recipients, "")
		memory.pairs = append(memory.pairs, pair{hub: float64(peak(b, h.api.PID())-idle.resident) / (1 << 20)})
		p := pair{hub: float64(recipients) / took.Seconds()}
		if b.shape.postgres {
			rate.baseline = "COPY"
			p.base = float64(recipients) / copySame(b, h.database, id).Seconds()
		}
		rate.pairs = append(rate.pairs, p)
	}
	for _, r := range []row{rate, memory} {
		r.shape = b.shape.name
		b.table.add(r)
	}
}

// bulk has the hub accept a bulk to n people of a tenant, and returns its id and how long that took. more are other members of the body.
func (h *hub) bulk(tenant string, n int, more string) (id string, took time.Duration) {
	h.b.Helper()
	var body bytes.Buffer
	fmt.Fprintf(&body, `{"message":%q,%s"recipients":[`, bulkText, more)
	for i := range n {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"to":"91985%07d","vars":{"name":"Customer %d"}}`, i, i)
	}
	body.WriteString(`]}`)
	begun := time.Now()
	req, err := http.NewRequestWithContext(h.b.Context(), http.MethodPost, "http://"+h.addr()+"/api/"+tenant+"/bulk", &body)
	if err != nil {
		h.b.Fatal(err)
	}
	req.Header.Set("x-api-key", testkit.AdminKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.b.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	took = time.Since(begun)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		h.b.Fatalf("a bulk was answered %s, %v: %.1000s", resp.Status, err, answer)
	}
	_, after, _ := strings.Cut(string(answer), `"id":"`)
	id, _, found := strings.Cut(after, `"`)
	if !found {
		h.b.Fatalf("a bulk has no id: %.1000s", answer)
	}
	return id, took
}

// apiUsage is what the API's process uses after a collection of its garbage.
func (h *hub) apiUsage() usage {
	h.b.Helper()
	for range 2 {
		fetch(h.b, "http://"+h.api.Listening("operations")+"/debug/pprof/heap?gc=1")
	}
	return processUsage(h.b, h.api.PID())
}

// resetPeak lets the system forget how much memory a process used at most.
func resetPeak(b *bench, pid int) {
	b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// peak is how much memory a process used at most, in bytes.
func peak(b *bench, pid int) int64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	field, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	kilobytes, err := strconv.ParseInt(field, 10, 64)
	if err != nil {
		b.Fatalf("read /proc: %v", err)
	}
	return kilobytes << 10
}

// copySame copies the rows of a bulk under other ids, and returns how long COPY alone takes.
func copySame(b *bench, url, bulkID string) time.Duration {
	b.Helper()
	took, err := copyRows(b.Context(), url, bulkID)
	if err != nil {
		b.Fatalf("copy the rows of a bulk: %v", err)
	}
	return took
}

func copyRows(ctx context.Context, url, bulkID string) (took time.Duration, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // its work is done
	// Without columns that Postgres makes itself.
	var columns string
	err = conn.QueryRow(ctx, `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = 'messages'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''`).Scan(&columns)
	if err != nil {
		return 0, err
	}
	found, err := conn.Query(ctx, `SELECT `+columns+` FROM messages WHERE bulk_id = $1 ORDER BY seq`, bulkID)
	if err != nil {
		return 0, err
	}
	var names []string
	for _, f := range found.FieldDescriptions() {
		names = append(names, f.Name)
	}
	rows, err := pgx.CollectRows(found, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		for i, name := range names {
			text, _ := row[i].(string)
			switch name {
			case "id", "bulk_id": // a UUID of version 7 becomes one of version 8
				row[i] = strings.Replace(text, "-7", "-8", 1)
			case "stanza_id":
				row[i] = "C" + text
			case "seq":
				seq, _ := row[i].(int64)
				row[i] = seq + 1_000_000_000
			}
		}
	}
	begun := time.Now()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"messages"}, names, pgx.CopyFromRows(rows)); err != nil {
		return 0, err
	}
	err = tx.Commit(ctx)
	return time.Since(begun), err
}
