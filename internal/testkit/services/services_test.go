package services_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/testkit/services"
)

// hold makes the test binary a process that starts one of each, prints where, and waits to be killed.
const hold = "WAPRO_HUB_TEST_HOLD_SERVICES"

func TestMain(m *testing.M) { leaks.Main(m) }

func TestEachCallGetsADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	urls := make([]string, 4)
	for i := range urls {
		wg.Go(func() { urls[i] = services.Postgres(t) })
	}
	wg.Wait()
	for _, url := range urls {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `CREATE TABLE mine (n INTEGER)`); err != nil {
			t.Errorf("%s is not empty: %v", url, err)
		}
		for setting, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "listen_addresses": "127.0.0.1"} {
			var got string
			if err := conn.QueryRow(t.Context(), "SHOW "+setting).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v", setting, got, err)
			}
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestServersKeepTheirDataWhenKilled(t *testing.T) {
	t.Parallel()
	db := services.PostgresServer(t)
	execute := func(query string) error {
		conn, err := pgx.Connect(t.Context(), db.URL)
		if err != nil {
			return err
		}
		defer conn.Close(t.Context()) //nolint:errcheck // read from
		_, err = conn.Exec(t.Context(), query)
		return err
	}
	if err := execute(`CREATE TABLE kept (n INTEGER)`); err != nil {
		t.Fatal(err)
	}
	broker := services.RedisServer(t)
	options, err := redis.ParseURL(broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close() //nolint:errcheck // the test is over
	for _, end := range []func(*services.Server){(*services.Server).Kill, (*services.Server).Stop} {
		if err := client.Incr(t.Context(), "kept").Err(); err != nil {
			t.Fatal(err)
		}
		end(db)
		end(broker)
		if execute(`SELECT 1`) == nil {
			t.Fatal("it still answers")
		}
		db.Start(t)
		broker.Start(t)
		if err := execute(`SELECT * FROM kept`); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := client.Get(t.Context(), "kept").Int(); err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
}

// A test process that is killed leaves neither servers nor folders.
func TestNothingIsLeftOfAKilledTestProcess(t *testing.T) {
	if os.Getenv(hold) != "" {
		db, broker := services.PostgresServer(t), services.Redis(t)
		os.Stdout.WriteString("holding " + db.URL + " " + broker + "\n") //nolint:errcheck // the parent misses it
		select {}
	}
	t.Parallel()
	tmp, err := os.MkdirTemp("", "killed-") //nolint:usetesting // the test's own folder is closed to Postgres' user
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)                      //nolint:errcheck // it is empty when the test succeeds
	if err := os.Chmod(tmp, 0o777); err != nil { // Postgres' user makes its folder in it
		t.Fatal(err)
	}
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	parent.Env = append(os.Environ(), hold+"=1", "TMPDIR="+tmp)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var urls []string
	var printed strings.Builder
	for lines := bufio.NewScanner(out); urls == nil && lines.Scan(); {
		printed.WriteString(lines.Text() + "\n")
		if words := strings.Fields(lines.Text()); len(words) == 3 && words[0] == "holding" {
			urls = words[1:]
		}
	}
	if urls == nil {
		t.Fatalf("the process did not start its servers:\n%s", &printed)
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var killed *exec.ExitError
	if err := parent.Wait(); !errors.As(err, &killed) {
		t.Fatalf("it ended with %v", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		left, err := os.ReadDir(tmp)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("left behind: %v", left)
		}
	}
	if conn, err := pgx.Connect(t.Context(), urls[0]); err == nil {
		conn.Close(t.Context()) //nolint:errcheck // it should not be
		t.Error("Postgres still answers")
	}
}
