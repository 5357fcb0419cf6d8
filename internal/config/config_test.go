package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/config"
)

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.ProcessAPI, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr != ":3001" || c.OpsAddr != "127.0.0.1:3003" || c.DatabaseURL != "sqlite://data/hub.db" ||
		c.BlobURL != "file://data/media" || c.LeaseTTL != 15*time.Second || c.MediaInflightBytes != 256<<20 ||
		c.SimulatorAddr != "127.0.0.1:3443" || *c.EgressAllowPrivate || !c.Embedded() || c.Mode() != config.ModeReal {
		t.Errorf("defaults differ from the README: %+v", c)
	}
	w, err := config.Load(config.ProcessWorker, []string{"REDIS_URL=redis://127.0.0.1:6379"})
	if err != nil {
		t.Fatal(err)
	}
	if w.OpsAddr != "127.0.0.1:3004" {
		t.Errorf("worker's ops address: %s", w.OpsAddr)
	}
}

func TestPostgresIsAcceptedAndItsPasswordKeptToItself(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://hub:pass%40word@db:5432/hub?sslmode=require", "postgresql://db/hub", "postgres://hub@/?host=/run/postgresql&dbname=hub",
	} {
		c, err := config.Load(config.ProcessAPI, []string{"DATABASE_URL=" + address})
		if err != nil {
			t.Fatal(err)
		}
		if c.SQLite() || c.DataDir() != "data" || c.DatabaseURL != address {
			t.Errorf("%s: SQLite %t, folder %s", address, c.SQLite(), c.DataDir())
		}
		if strings.Contains(c.LogValue().String(), "pass") {
			t.Errorf("the log value shows the password: %s", c.LogValue())
		}
	}
	_, err := config.Load(config.ProcessAPI, []string{"DATABASE_URL=postgres://hub:secret/@db/hub"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the password, or there is none: %v", err)
	}
	if c, err := config.Load(config.ProcessAPI, nil); err != nil || !c.SQLite() {
		t.Errorf("the default is not SQLite: %v, %v", c, err)
	}
}

func TestSandboxOpensPrivateEgress(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.ProcessAPI, []string{"SANDBOX=true", "DATABASE_URL=sqlite://data/sandbox/hub.db"})
	if err != nil {
		t.Fatal(err)
	}
	if !*c.EgressAllowPrivate || c.Mode() != config.ModeSandbox || c.DataDir() != filepath.Join("data", "sandbox") {
		t.Errorf("got %+v, dir %s", c, c.DataDir())
	}
}

func TestSecretsAreReadFromFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("a-very-secret-admin-key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.ProcessAPI, []string{"ADMIN_API_KEY_FILE=" + path})
	if err != nil {
		t.Fatal(err)
	}
	if c.AdminAPIKey != "a-very-secret-admin-key" {
		t.Errorf("got %q", c.AdminAPIKey)
	}
	if strings.Contains(c.LogValue().String(), "secret") {
		t.Error("the log value shows the key")
	}
}

func TestWrongSettingsAreRefusedByName(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("ab", 32)
	for name, tc := range map[string]struct {
		process config.Process
		environ []string
		want    string
	}{
		"worker without redis":      {config.ProcessWorker, nil, "REDIS_URL"},
		"sandbox with redis":        {config.ProcessAPI, []string{"SANDBOX=true", "REDIS_URL=redis://127.0.0.1:1"}, "SANDBOX"},
		"sandbox with a server":     {config.ProcessAPI, []string{"SANDBOX=true", "WHATSAPP_SERVER=127.0.0.1:1", "WHATSAPP_ROOT_KEY=" + key}, "SANDBOX"},
		"server without key":        {config.ProcessAPI, []string{"WHATSAPP_SERVER=127.0.0.1:1"}, "WHATSAPP_ROOT_KEY"},
		"short key":                 {config.ProcessAPI, []string{"WHATSAPP_SERVER=127.0.0.1:1", "WHATSAPP_ROOT_KEY=abcd"}, "WHATSAPP_ROOT_KEY"},
		"server without port":       {config.ProcessAPI, []string{"WHATSAPP_SERVER=localhost", "WHATSAPP_ROOT_KEY=" + key}, "host:port"},
		"database":                  {config.ProcessAPI, []string{"DATABASE_URL=mysql://x"}, "DATABASE_URL"},
		"a file without a name":     {config.ProcessAPI, []string{"DATABASE_URL=sqlite://"}, "needs a path"},
		"no database":               {config.ProcessAPI, []string{"DATABASE_URL=postgres://hub@db:5432"}, "names no database"},
		"a port that is none":       {config.ProcessAPI, []string{"DATABASE_URL=postgres://hub:a/b@db/hub"}, "percent-encoded"},
		"blobs":                     {config.ProcessAPI, []string{"BLOB_URL=ftp://x"}, "BLOB_URL"},
		"tenant id":                 {config.ProcessAPI, []string{"BOOTSTRAP_TENANT=Not Valid"}, "BOOTSTRAP_TENANT"},
		"key without tenant":        {config.ProcessAPI, []string{"BOOTSTRAP_API_KEY=0123456789abcdef"}, "BOOTSTRAP_TENANT"},
		"one key for both":          {config.ProcessAPI, []string{"ADMIN_API_KEY=0123456789abcdef", "BOOTSTRAP_TENANT=a", "BOOTSTRAP_API_KEY=0123456789abcdef"}, "must differ"},
		"lease":                     {config.ProcessAPI, []string{"LEASE_TTL=1ms"}, "LEASE_TTL"},
		"a lease that is no length": {config.ProcessAPI, []string{"LEASE_TTL=soon"}, "LeaseTTL"},
		"inflight":                  {config.ProcessAPI, []string{"MEDIA_INFLIGHT_BYTES=1"}, "MEDIA_INFLIGHT_BYTES"},
		"log level":                 {config.ProcessAPI, []string{"LOG_LEVEL=loud"}, "LOG_LEVEL"},
		"log format":                {config.ProcessAPI, []string{"LOG_FORMAT=xml"}, "LOG_FORMAT"},
		"both value and file":       {config.ProcessAPI, []string{"ADMIN_API_KEY=0123456789abcdef", "ADMIN_API_KEY_FILE=x"}, "both set"},
		"a file that is not there":  {config.ProcessAPI, []string{"ADMIN_API_KEY_FILE=/nonexistent/x"}, "ADMIN_API_KEY_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(tc.process, tc.environ)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error that names %s, got %v", tc.want, err)
			}
		})
	}
}

// TestKeysThatCanBeGuessedAreRefused by a hub that is run for others; one that somebody tries out starts and names them.
func TestKeysThatCanBeGuessedAreRefused(t *testing.T) {
	t.Parallel()
	const redis, postgres, good = "REDIS_URL=redis://127.0.0.1:1", "DATABASE_URL=postgres://db/hub", "0123456789abcdef"
	simulator := []string{"WHATSAPP_SERVER=127.0.0.1:1", "WHATSAPP_ROOT_KEY=" + strings.Repeat("ab", 32)}
	for name, tc := range map[string]struct {
		process config.Process
		environ []string
		starts  bool
	}{
		"one process":                      {config.ProcessAPI, nil, true},
		"the sandbox":                      {config.ProcessAPI, []string{"SANDBOX=true"}, true},
		"a simulator":                      {config.ProcessAPI, append(simulator, redis, postgres), true},
		"the simulator":                    {config.ProcessSimulator, []string{redis}, true},
		"several processes":                {config.ProcessAPI, []string{redis}, false},
		"several processes, on Postgres":   {config.ProcessAPI, []string{redis, postgres}, false},
		"one process on Postgres":          {config.ProcessAPI, []string{postgres}, false},
		"a worker among several processes": {config.ProcessWorker, []string{redis, postgres}, false},
	} {
		for setting, more := range map[string][]string{"ADMIN_API_KEY": nil, "BOOTSTRAP_API_KEY": {"BOOTSTRAP_TENANT=a"}} {
			for _, weak := range []string{"k", good[:15], strings.Repeat("ab", 16), "change-me-to-32-random-characters"} {
				c, err := config.Load(tc.process, append(append([]string{setting + "=" + weak}, more...), tc.environ...))
				switch {
				case tc.starts && (err != nil || len(c.WeakKeys()) != 1 || c.WeakKeys()[0] != setting):
					t.Errorf("%s with %s=%s: %v, named are %v", name, setting, weak, err, c.WeakKeys())
				case !tc.starts && (err == nil || !strings.Contains(err.Error(), setting) || len(weak) > 1 && strings.Contains(err.Error(), weak)):
					t.Errorf("%s with %s=%s: %v", name, setting, weak, err)
				}
			}
			c, err := config.Load(tc.process, append(append([]string{setting + "=" + good}, more...), tc.environ...))
			if err != nil || len(c.WeakKeys()) > 0 {
				t.Errorf("%s with a good %s: %v, named are %v", name, setting, err, c.WeakKeys())
			}
		}
		if c, err := config.Load(tc.process, tc.environ); err != nil || len(c.WeakKeys()) > 0 {
			t.Errorf("%s without keys: %v, named are %v", name, err, c.WeakKeys())
		}
	}
}

func TestMasterKeysAreReadAndNeverShown(t *testing.T) {
	t.Parallel()
	current, old := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	c, err := config.Load(config.ProcessAPI, []string{"MASTER_KEY=" + current, "MASTER_KEY_PREVIOUS=" + old + ", " + strings.Repeat("ef", 32)})
	if err != nil {
		t.Fatal(err)
	}
	if keys := c.MasterKeys(); len(keys) != 3 || keys[0][0] != 0xab || keys[1][0] != 0xcd || keys[2][0] != 0xef {
		t.Errorf("%d keys", len(keys))
	}
	if strings.Contains(c.LogValue().String(), current) {
		t.Error("the log value shows the key")
	}
	for _, environ := range [][]string{
		{"MASTER_KEY=short"}, {"MASTER_KEY=" + current + "00"}, {"MASTER_KEY_PREVIOUS=" + old}, {"MASTER_KEY=" + current, "MASTER_KEY_PREVIOUS=x," + old},
	} {
		if _, err := config.Load(config.ProcessAPI, environ); err == nil || !strings.Contains(err.Error(), "MASTER_KEY") || strings.Contains(err.Error(), current) {
			t.Errorf("%d settings: %v", len(environ), err)
		}
	}
}

func TestTrustedProxiesAreNetworks(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":                            "[127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7]",
		"none":                        "[]",
		"10.1.2.3/8, 2001:db8::1":     "[10.0.0.0/8 2001:db8::1/128]",
		" 192.0.2.7 ,198.51.100.0/24": "[192.0.2.7/32 198.51.100.0/24]",
	} {
		c, err := config.Load(config.ProcessAPI, []string{"TRUSTED_PROXIES=" + value})
		if err != nil || fmt.Sprint(c.Proxies()) != want {
			t.Errorf("%q: %v, %v", value, c.Proxies(), err)
		}
	}
	for _, environ := range []string{"TRUSTED_PROXIES=proxy.local", "TRUSTED_PROXIES=10.0.0.0/33", "TRUSTED_PROXIES=10.0.0.0/8,,", "RATE_LIMIT=-1", "RATE_LIMIT=many"} {
		if _, err := config.Load(config.ProcessAPI, []string{environ}); err == nil {
			t.Errorf("%s is taken", environ)
		}
	}
}
