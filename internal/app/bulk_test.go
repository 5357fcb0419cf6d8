package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// bulkBody is the API's bulk, as far as tests look at it.
type bulkBody struct {
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	Status        string         `json:"status"`
	Reason        string         `json:"reason"`
	Total         int            `json:"total"`
	Counts        map[string]int `json:"counts"`
	InvalidCount  int            `json:"invalidCount"`
	RatePerSecond float64        `json:"ratePerSecond"`
	RetryOf       string         `json:"retryOf"`
	StartedAt     *time.Time     `json:"startedAt"`
	FinishedAt    *time.Time     `json:"finishedAt"`
}

// bulkPatience is how long a bulk of some hundred messages may take on a slow machine under the race detector.
const bulkPatience = 4 * time.Minute

func postBulk(t *testing.T, api *testkit.Client, body any) bulkBody {
	t.Helper()
	var b bulkBody
	api.JSON(t, http.MethodPost, "/api/algo/bulk", body, http.StatusAccepted, &b)
	return b
}

func getBulk(t *testing.T, api *testkit.Client, id string) bulkBody {
	t.Helper()
	var b bulkBody
	api.JSON(t, http.MethodGet, "/api/algo/bulk/"+id, nil, http.StatusOK, &b)
	sum := 0
	for _, n := range b.Counts {
		sum += n
	}
	if sum != b.Total {
		t.Fatalf("counts %v add up to %d, the bulk has %d", b.Counts, sum, b.Total)
	}
	return b
}

func awaitBulk(t *testing.T, api *testkit.Client, id, what string, ok func(bulkBody) bool) bulkBody {
	t.Helper()
	var b bulkBody
	testkit.Eventually(t, bulkPatience, func() (bool, string) {
		b = getBulk(t, api, id)
		return ok(b), fmt.Sprintf("waited for %s: %+v", what, b)
	})
	return b
}

func steerBulk(t *testing.T, api *testkit.Client, id, verb string) bulkBody {
	t.Helper()
	var b bulkBody
	api.JSON(t, http.MethodPost, "/api/algo/bulk/"+id+"/"+verb, nil, http.StatusOK, &b)
	return b
}

type bulkRow struct {
	To   string         `json:"to"`
	Vars map[string]any `json:"vars,omitempty"`
}

// greetings is a bulk to n numbers; its text comes behind the rows.
func greetings(n int) map[string]any {
	rows := make([]bulkRow, n)
	for i := range rows {
		rows[i] = bulkRow{To: bulkNumber(i), Vars: map[string]any{"name": fmt.Sprintf("no %03d", i), "n": i}}
	}
	return map[string]any{"name": "greetings", "recipients": rows, "message": "Hello {{ name }}, you are {{n}}"}
}

func bulkNumber(i int) string { return fmt.Sprintf("9198760%05d", i) }

// TestBulkReachesEverybody sends one text to 200 people, each with a name of their own.
func TestBulkReachesEverybody(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		const n = 200
		w.API.JSON(t, http.MethodGet, "/api/algo/events", nil, http.StatusOK, nil) // from now on there are events
		made := postBulk(t, w.API, greetings(n))
		if made.Total != n || made.Counts["queued"] != n || made.Status != "running" || made.Name != "greetings" {
			t.Fatalf("accepted %+v", made)
		}
		high := w.API.Send(t, "algo", recipient, "not behind the bulk")
		b := awaitBulk(t, w.API, made.ID, "its end", func(b bulkBody) bool { return b.Status == "finished" && b.Counts["read"] == n })
		if b.StartedAt == nil || b.FinishedAt == nil || b.FinishedAt.Before(*b.StartedAt) {
			t.Errorf("started %v, finished %v", b.StartedAt, b.FinishedAt)
		}
		var told struct {
			Data []struct{ Data bulkBody }
		}
		testkit.Eventually(t, bulkPatience, func() (bool, string) {
			w.API.JSON(t, http.MethodGet, "/api/algo/events?types=bulk.finished", nil, http.StatusOK, &told)
			return len(told.Data) > 0, "nobody is told of its end"
		})
		// All have ended; receipts may have come since.
		if end := told.Data[0].Data; end.Total != n || len(end.Counts) != len(b.Counts) || end.Counts["sent"]+end.Counts["delivered"]+end.Counts["read"] != n {
			t.Errorf("the end is told as %+v", end)
		}
		w.API.AwaitStatus(t, "algo", high.ID, "read")
		var last time.Time
		for i := 0; i < n; i += 9 {
			shown := w.Shown(bulkNumber(i))
			if len(shown) != 1 || shown[0].Text != fmt.Sprintf("Hello no %03d, you are %d", i, i) {
				t.Fatalf("phone %d shows %+v", i, shown)
			}
			if at := shown[0].Decrypted[0]; at.Before(last) {
				t.Errorf("row %d overtook an earlier one", i+1)
			} else {
				last = at
			}
		}
		status, header, table := w.API.Do(t, http.MethodGet, "/api/algo/bulk/"+made.ID+"/results.csv", nil)
		if lines := strings.Count(string(table), "\n"); status != http.StatusOK || lines != n+1 || !strings.HasPrefix(header.Get("Content-Type"), "text/csv") {
			t.Errorf("%d, %d lines of %s", status, lines, header.Get("Content-Type"))
		}
	})
}

// TestBulkIsPausedResumedAndCanceled steers a bulk that is under way; a high message does not wait for it.
func TestBulkIsPausedResumedAndCanceled(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		w.Script(wasim.Fault{Kind: wasim.DelayAck, Delay: 30 * time.Millisecond, Times: -1})
		const n = 600 // most of which are canceled: time for a slow machine to see the first results, and what comes after the pause
		id := postBulk(t, w.API, greetings(n)).ID
		awaitBulk(t, w.API, id, "the first results", func(b bulkBody) bool { return b.Counts["queued"] < n-5 })
		steerBulk(t, w.API, id, "pause")
		paused := awaitBulk(t, w.API, id, "nothing in hand", func(b bulkBody) bool { return b.Counts["sending"] == 0 })
		if paused.Status != "paused" || paused.Counts["queued"] == 0 {
			t.Fatalf("paused %+v", paused)
		}
		// The lane is free for others, and the bulk stands still meanwhile.
		var other testkit.Message
		w.API.JSON(t, http.MethodPost, "/api/algo/message", map[string]string{"to": recipient, "message": "behind", "priority": "bulk"}, http.StatusAccepted, &other)
		w.API.AwaitStatus(t, "algo", other.ID, "read")
		if still := getBulk(t, w.API, id); still.Counts["queued"] != paused.Counts["queued"] {
			t.Errorf("while it was paused, queued went from %d to %d", paused.Counts["queued"], still.Counts["queued"])
		}
		steerBulk(t, w.API, id, "pause")
		steerBulk(t, w.API, id, "resume")
		awaitBulk(t, w.API, id, "more results", func(b bulkBody) bool { return b.Counts["queued"] < paused.Counts["queued"] })
		steerBulk(t, w.API, id, "cancel")
		steerBulk(t, w.API, id, "cancel")
		end := awaitBulk(t, w.API, id, "its end", func(b bulkBody) bool { return b.FinishedAt != nil && b.Counts["read"]+b.Counts["canceled"] == n })
		if end.Status != "canceled" || end.Counts["canceled"] == 0 || end.Counts["read"] == 0 {
			t.Errorf("canceled %+v", end)
		}
		w.API.JSON(t, http.MethodPost, "/api/algo/bulk/"+id+"/resume", nil, http.StatusConflict, nil)
	})
}

// TestBulkPausesItself: most numbers of the list have no account. The bulk stops long before its end, says why, and goes on when it is
// told to; its retry sends what failed as a new bulk.
func TestBulkPausesItself(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		const n = 240
		rows := make([]map[string]string, n)
		for i := range rows {
			rows[i] = map[string]string{"to": "12025550101", "message": fmt.Sprintf("to nobody %03d", i)} // has no account
			if i%4 == 0 {
				rows[i]["to"] = recipient
			}
		}
		id := postBulk(t, w.API, map[string]any{"messages": rows}).ID
		paused := awaitBulk(t, w.API, id, "its pause", func(b bulkBody) bool { return b.Status == "paused" && b.Counts["sending"] == 0 })
		if !strings.Contains(paused.Reason, "messages failed; the limit is 30 %") || paused.Counts["failed"] < 7 || paused.Counts["queued"] < n/4 {
			t.Errorf("paused with %q: %v", paused.Reason, paused.Counts)
		}
		steerBulk(t, w.API, id, "resume")
		awaitBulk(t, w.API, id, "its next pause", func(b bulkBody) bool {
			return b.Status == "paused" && b.Counts["failed"] > paused.Counts["failed"]
		})
		steerBulk(t, w.API, id, "cancel")
		end := awaitBulk(t, w.API, id, "its end", func(b bulkBody) bool { return b.FinishedAt != nil })
		var again bulkBody
		w.API.JSON(t, http.MethodPost, "/api/algo/bulk/"+id+"/retry", nil, http.StatusAccepted, &again)
		if again.RetryOf != id || again.Total != end.Counts["failed"] || again.ID == id {
			t.Errorf("the retry of %+v is %+v", end, again)
		}
	})
}

// TestBulkOutlivesKills kills the hub twice in the middle of a bulk: every phone shows its message once.
func TestBulkOutlivesKills(t *testing.T) {
	t.Parallel()
	world := testkit.StartProcesses(t)
	world.Pair(t, "algo", testkit.OwnNumber)
	world.Script(wasim.Fault{Kind: wasim.DelayAck, Delay: 50 * time.Millisecond, Times: -1}) // so that a kill finds something to do
	const n = 240
	id := postBulk(t, world.Admin, greetings(n)).ID
	for _, left := range []int{n - 20, n / 2} {
		b := awaitBulk(t, world.Admin, id, "its progress", func(b bulkBody) bool { return b.Counts["queued"] <= left })
		if b.Counts["queued"] == 0 {
			t.Fatal("nothing was left to do when the kill came")
		}
		world.RestartHub(t, (*testkit.Process).Kill)
	}
	end := awaitBulk(t, world.Admin, id, "its end", func(b bulkBody) bool { return b.Status == "finished" && b.Counts["read"] == n })
	if end.FinishedAt == nil {
		t.Errorf("end %+v", end)
	}
	for i := range n {
		if shown := world.Shown(bulkNumber(i)); len(shown) != 1 {
			t.Errorf("phone %d shows %d messages", i, len(shown))
		}
	}
}

// TestBulkOutlivesAWipedRedis wipes Redis twice in the middle of a bulk, and another tenant's message does not wait for it.
func TestBulkOutlivesAWipedRedis(t *testing.T) {
	t.Parallel()
	c := startCluster(t, longLease)
	c.tenant(t, "algo", testkit.OwnNumber)
	c.tenant(t, "beta", "15550008888")
	broker := c.broker(t)
	const n = 200
	id := postBulk(t, c.Admin, greetings(n)).ID
	for _, left := range []int{n - 10, n / 2} {
		awaitBulk(t, c.Admin, id, "its progress", func(b bulkBody) bool { return b.Counts["queued"] <= left })
		if err := broker.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	other := c.Admin.Send(t, "beta", recipient, "of another tenant")
	c.Admin.AwaitStatus(t, "beta", other.ID, "read")
	awaitBulk(t, c.Admin, id, "its end", func(b bulkBody) bool { return b.Status == "finished" && b.Counts["read"] == n })
	for i := range n {
		if shown := c.Shown(bulkNumber(i)); len(shown) != 1 || len(shown[0].Decrypted) != 1 {
			t.Errorf("phone %d shows %+v", i, shown)
		}
	}
}

// strangers is a bulk to n people of whom a cap lets one be written to: it returns when the others are held.
func strangers(t *testing.T, w *testkit.World, n int) bulkBody {
	t.Helper()
	w.API.JSON(t, http.MethodPatch, "/api/algo/settings", map[string]any{"pacing": map[string]any{"firstContactsPerDay": 1}}, http.StatusOK, nil)
	made := postBulk(t, w.API, greetings(n))
	awaitBulk(t, w.API, made.ID, "all but one to be held", func(b bulkBody) bool {
		return b.Counts["read"] == 1 && b.Counts["sending"] == n-1 && len(heldOf(t, w, b.ID)) == n-1
	})
	return made
}

// heldOf lists the messages of a bulk that are held.
func heldOf(t *testing.T, w *testkit.World, id string) (held []testkit.Message) {
	t.Helper()
	var list struct{ Data []testkit.Message }
	w.API.JSON(t, http.MethodGet, "/api/algo/messages?limit=200&bulkId="+id, nil, http.StatusOK, &list)
	for _, m := range list.Data {
		if m.Phase == "held" {
			held = append(held, m)
		}
	}
	return held
}

// TestACanceledBulkEndsWithWhatACapHolds, and does not wait for the day on which the cap would have room for it.
func TestACanceledBulkEndsWithWhatACapHolds(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		const n = 12
		id := strangers(t, w, n).ID
		steerBulk(t, w.API, id, "cancel")
		end := awaitBulk(t, w.API, id, "its end", func(b bulkBody) bool { return b.FinishedAt != nil })
		if end.Status != "canceled" || end.Counts["read"] != 1 || end.Counts["failed"] != n-1 {
			t.Errorf("it ended with %+v", end)
		}
		w.API.JSON(t, http.MethodPatch, "/api/algo/settings", map[string]any{"pacing": map[string]any{"firstContactsPerDay": 0}}, http.StatusOK, nil)
		next := w.API.Send(t, "algo", recipient, "after it")
		w.API.AwaitStatus(t, "algo", next.ID, "read")
		shown := 0
		for i := range n {
			shown += len(w.Shown(bulkNumber(i)))
		}
		if shown != 1 {
			t.Errorf("%d of its messages are shown, want the one that went out", shown)
		}
	})
}

// TestWhatIsHeldOfAPausedBulkRestsUntilItIsResumed: a change of the pacing costs it no row of history, and the resumption does not wait for the rest's end.
func TestWhatIsHeldOfAPausedBulkRestsUntilItIsResumed(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		const n = 12
		id := strangers(t, w, n).ID
		steerBulk(t, w.API, id, "pause")
		resting := func() (messages []testkit.Message) {
			for _, m := range heldOf(t, w, id) {
				if m.Error != nil && m.Error.Message == "The bulk is paused." {
					messages = append(messages, m)
				}
			}
			return messages
		}
		rest := func() []testkit.Message {
			t.Helper()
			testkit.Eventually(t, bulkPatience, func() (bool, string) {
				return len(resting()) == n-1, fmt.Sprintf("%d of %d rest with their bulk", len(resting()), n-1)
			})
			return resting()
		}
		told := func(m testkit.Message) int {
			t.Helper()
			var events struct{ Data []struct{ Detail string } }
			w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+m.ID+"/events", nil, http.StatusOK, &events)
			return len(events.Data)
		}
		before := rest()
		history := told(before[0])
		if left := time.Until(before[0].NextAttemptAt); left < 30*time.Minute {
			t.Errorf("it is looked at again in %s", left)
		}

		w.API.JSON(t, http.MethodPatch, "/api/algo/settings", map[string]any{"pacing": map[string]any{"firstContactsPerDay": 0}}, http.StatusOK, nil)
		testkit.Eventually(t, bulkPatience, func() (bool, string) {
			m := w.API.Get(t, "algo", before[0].ID)
			return m.Phase == "held" && m.NextAttemptAt.After(before[0].NextAttemptAt), fmt.Sprintf("%+v; it was to be looked at anew", m)
		})
		if now := told(before[0]); now != history {
			t.Errorf("its history went from %d rows to %d", history, now)
		}
		rest()
		steerBulk(t, w.API, id, "resume")
		awaitBulk(t, w.API, id, "its end", func(b bulkBody) bool { return b.Status == "finished" && b.Counts["read"] == n })
	})
}
