package app_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wasim"
)

// The programs that these tests start are built as they are delivered, without the race detector.

// TestLargestBulkIsAcceptedOverHTTPInLittleMemory: as many recipients as one bulk may have, some of them wrong, arrive as a stream; the
// API's process never uses more than 150 MiB above idle for them.
func TestLargestBulkIsAcceptedOverHTTPInLittleMemory(t *testing.T) {
	t.Parallel()
	const rows, wrongEach, limit = 100_000, 10_000, 150 << 20
	api := testkit.Run(t, nil, "DATABASE_URL="+services.Postgres(t), "REDIS_URL="+services.Redis(t), "BLOB_URL=file://"+t.TempDir(),
		"ADMIN_API_KEY="+testkit.AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+testkit.TenantKey)
	client := testkit.NewClient(testkit.TenantKey, "http://"+api.Listening("requests"))
	client.Send(t, "algo", recipient, "what a first request brings")
	idle := memory(t, api, "VmRSS")

	body, into := io.Pipe()
	go func() {
		fmt.Fprint(into, `{"name":"all","onInvalid":"skip","message":"Hello {{name}}, this is for you alone.","recipients":[`)
		row := make([]byte, 0, 200)
		for i := range rows {
			row = row[:0]
			if i > 0 {
				row = append(row, ',')
			}
			to := fmt.Sprintf("91985%07d", i)
			if i%wrongEach == wrongEach-1 {
				to = "nobody"
			}
			row = fmt.Appendf(row, `{"to":%q,"reference":"row %d","vars":{"name":"Customer no. %d"}}`, to, i, i)
			if _, err := into.Write(row); err != nil {
				return // the hub hung up: its answer says why
			}
		}
		fmt.Fprint(into, `]}`)
		into.Close() //nolint:errcheck // of a pipe
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, client.Base()+"/api/algo/bulk", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-api-key", testkit.TenantKey)
	req.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%s, %v: %.500s", resp.Status, err, answer)
	}
	used := memory(t, api, "VmHWM") - idle
	t.Logf("accepted in %s with %d MiB above idle", time.Since(begun), used>>20)
	if used > limit {
		t.Errorf("the API used %d MiB more than idle, %d are allowed", used>>20, limit>>20)
	}
	var made bulkBody
	if err := json.Unmarshal(answer, &made); err != nil {
		t.Fatal(err)
	}
	const wrong = rows / wrongEach
	if now := getBulk(t, client, made.ID); now.Total != rows-wrong || now.Counts["queued"] != now.Total || now.InvalidCount != wrong || now.Status != "running" {
		t.Errorf("the bulk is %+v", now)
	}
	var list struct {
		Data []struct{ To, Message, Status, Reference string }
	}
	for _, row := range []int{0, rows / 2, rows - 2} {
		client.JSON(t, http.MethodGet, "/api/algo/messages?bulkId="+made.ID+"&to=91985"+fmt.Sprintf("%07d", row), nil, http.StatusOK, &list)
		if len(list.Data) != 1 || list.Data[0].Message != fmt.Sprintf("Hello Customer no. %d, this is for you alone.", row) ||
			list.Data[0].Reference != fmt.Sprintf("row %d", row) || list.Data[0].Status != "queued" {
			t.Errorf("row %d became %+v", row, list.Data)
		}
	}
}

// memory reads what the system counts of a process, in bytes.
func memory(t *testing.T, p *testkit.Process, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), field+":")
	kilobytes, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// TestOneDocumentToAThousandIsStoredAndUploadedOnce: a file of 5 MiB goes to 1,000 people (race_test.go has fewer). The hub keeps it once, and once it has been
// uploaded, no other upload is tried: the fault that waits for one meets none.
func TestOneDocumentToAThousandIsStoredAndUploadedOnce(t *testing.T) {
	t.Parallel()
	const people = documentRecipients
	sim := testkit.StartSimulator(t)
	media := t.TempDir()
	hub := testkit.Run(t, nil, append(sim.WhatsApp(), "DATABASE_URL=sqlite://"+filepath.Join(t.TempDir(), "hub.db"), "BLOB_URL=file://"+media,
		"ADMIN_API_KEY="+testkit.AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+testkit.TenantKey)...)
	client := testkit.NewClient(testkit.AdminKey, "http://"+hub.Listening("requests"))
	sim.Scan(client.PairingCode(t, "algo"), testkit.OwnNumber)
	client.AwaitSession(t, "algo", "online")

	file := append([]byte("%PDF-1.7\n"), bytes.Repeat([]byte("five mebibytes of a catalogue "), 5<<20/30)...)
	document := map[string]any{"mimetype": "application/pdf", "filename": "catalogue.pdf", "data": base64.StdEncoding.EncodeToString(file)}
	first := client.SendMedia(t, "algo", recipient, "", "application/pdf", "catalogue.pdf", file)
	client.AwaitStatus(t, "algo", first.ID, "read")
	sim.Script(wasim.Fault{Kind: wasim.UploadError, Code: http.StatusInternalServerError, Times: 1})
	rows := make([]bulkRow, people)
	for i := range rows {
		rows[i] = bulkRow{To: bulkNumber(i)}
	}
	begun := time.Now()
	made := postBulk(t, client, map[string]any{"media": document, "recipients": rows})
	b := awaitBulk(t, client, made.ID, "its end", func(b bulkBody) bool {
		return b.Status == "finished" && b.Counts["delivered"]+b.Counts["read"] == people
	})
	t.Logf("%d people in %s", b.Total, time.Since(begun))
	if left := sim.Unfired(); len(left) != 1 {
		t.Errorf("a second upload was tried: of the faults, %v are left", left)
	}
	var files []string
	if err := filepath.WalkDir(media, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Errorf("the hub keeps %d files: %v", len(files), files)
	}
	want := sim.WaitShown(recipient, 1)[0]
	for i := 0; i < people; i += people / 9 {
		shown := sim.Shown(bulkNumber(i))
		if len(shown) != 1 || shown[0].SHA256 != want.SHA256 || shown[0].Filename != "catalogue.pdf" || shown[0].Size != int64(len(file)) {
			t.Errorf("phone %d shows %+v", i, shown)
		}
	}
	if want.Type != "document" {
		t.Errorf("it arrived as a %s", want.Type)
	}
}
