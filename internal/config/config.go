// Package config turns the environment into one immutable, validated value. Every setting is documented in the
// README; NAME_FILE names a file whose content is the value of NAME, for mounted secrets.
package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/secret"
	"github.com/wapro/hub/internal/throttle"
)

// Process is the kind of process that is configured; some defaults and rules differ.
type Process string

// The processes.
const (
	ProcessAPI       Process = "api"
	ProcessWorker    Process = "worker"
	ProcessSimulator Process = "simulator"
)

// Mode is what the hub talks to. A database is stamped with it and refuses every other.
type Mode string

// The modes.
const (
	ModeReal      Mode = "real"      // WhatsApp
	ModeSandbox   Mode = "sandbox"   // the simulator in this process
	ModeSimulator Mode = "simulator" // a simulator elsewhere, WHATSAPP_SERVER
)

// Config is all that can be set.
type Config struct {
	HTTPAddr           string        `env:"HTTP_ADDR" envDefault:":3001"`
	OpsAddr            string        `env:"OPS_ADDR"`
	DatabaseURL        string        `env:"DATABASE_URL" envDefault:"sqlite://data/hub.db"`
	RedisURL           string        `env:"REDIS_URL"`
	BlobURL            string        `env:"BLOB_URL" envDefault:"file://data/media"`
	AdminAPIKey        string        `env:"ADMIN_API_KEY"`
	BootstrapTenant    string        `env:"BOOTSTRAP_TENANT"`
	BootstrapAPIKey    string        `env:"BOOTSTRAP_API_KEY"`
	Sandbox            bool          `env:"SANDBOX"`
	WhatsAppServer     string        `env:"WHATSAPP_SERVER"`
	WhatsAppRootKey    string        `env:"WHATSAPP_ROOT_KEY"`
	SimulatorAddr      string        `env:"SIMULATOR_ADDR" envDefault:"127.0.0.1:3443"`
	WhatsAppVersion    string        `env:"WHATSAPP_VERSION"`
	EgressAllowPrivate *bool         `env:"EGRESS_ALLOW_PRIVATE"`
	MasterKey          string        `env:"MASTER_KEY"`
	MasterKeyPrevious  string        `env:"MASTER_KEY_PREVIOUS"`
	RateLimit          int           `env:"RATE_LIMIT" envDefault:"600"`
	QueueLimit         int           `env:"QUEUE_LIMIT" envDefault:"1000000"`
	TrustedProxies     string        `env:"TRUSTED_PROXIES"`
	LeaseTTL           time.Duration `env:"LEASE_TTL" envDefault:"15s"`
	MediaInflightBytes int64         `env:"MEDIA_INFLIGHT_BYTES" envDefault:"268435456"`
	LogLevel           string        `env:"LOG_LEVEL" envDefault:"info"`
	LogFormat          string        `env:"LOG_FORMAT"`
}

// Mode tells what the hub talks to.
func (c Config) Mode() Mode {
	switch {
	case c.Sandbox:
		return ModeSandbox
	case c.WhatsAppServer != "":
		return ModeSimulator
	}
	return ModeReal
}

// Embedded reports whether broker and worker run inside the API process.
func (c Config) Embedded() bool { return c.RedisURL == "" }

// RootKey is WHATSAPP_ROOT_KEY decoded; zero when it is unset.
func (c Config) RootKey() [32]byte {
	var key [32]byte
	// Validated when the value was read, so a failure here leaves the zero key, which verifies nothing.
	if raw, err := hex.DecodeString(c.WhatsAppRootKey); err == nil {
		copy(key[:], raw)
	}
	return key
}

// MasterKeys are MASTER_KEY and MASTER_KEY_PREVIOUS read; the first is the current one. None: MASTER_KEY is unset.
func (c Config) MasterKeys() []secret.Key {
	keys, err := c.readMasterKeys()
	if err != nil {
		return nil // refused when the settings were read
	}
	return keys
}

func (c Config) readMasterKeys() ([]secret.Key, error) {
	if c.MasterKey == "" {
		if c.MasterKeyPrevious != "" {
			return nil, errors.New("MASTER_KEY_PREVIOUS needs MASTER_KEY")
		}
		return nil, nil
	}
	current, err := secret.ParseKey(c.MasterKey)
	if err != nil {
		return nil, fmt.Errorf("MASTER_KEY: %w", err)
	}
	keys := []secret.Key{current}
	for text := range strings.SplitSeq(c.MasterKeyPrevious, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		key, err := secret.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("MASTER_KEY_PREVIOUS: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Proxies are the networks of TRUSTED_PROXIES; unset: loopback and private ones.
func (c Config) Proxies() []netip.Prefix {
	proxies, err := c.readProxies()
	if err != nil {
		return nil // refused when the settings were read
	}
	return proxies
}

func (c Config) readProxies() (proxies []netip.Prefix, err error) {
	switch strings.TrimSpace(c.TrustedProxies) {
	case "":
		return throttle.LocalNetworks(), nil
	case "none":
		return nil, nil
	}
	for text := range strings.SplitSeq(c.TrustedProxies, ",") {
		text = strings.TrimSpace(text)
		if addr, err := netip.ParseAddr(text); err == nil {
			proxies = append(proxies, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("read a network: %w", err)
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, nil
}

// SQLite reports whether the database is a file of this host, not a Postgres that any host may share.
func (c Config) SQLite() bool { return strings.HasPrefix(c.DatabaseURL, "sqlite://") }

// DataDir is the folder of the SQLite database, where embedded extras (the simulator's state) live beside it. With
// Postgres it is the folder data.
func (c Config) DataDir() string {
	if c.SQLite() {
		return filepath.Dir(c.SQLitePath())
	}
	return "data"
}

// SQLitePath is the file of the SQLite database.
func (c Config) SQLitePath() string {
	path, _, _ := strings.Cut(strings.TrimPrefix(c.DatabaseURL, "sqlite://"), "?")
	return path
}

// BlobDir is the folder of BLOB_URL.
func (c Config) BlobDir() string { return strings.TrimPrefix(c.BlobURL, "file://") }

// minKey is the least length in bytes, minKinds the least number of different ones, of a key of the environment that cannot be guessed.
const minKey, minKinds = 16, 6

// WeakKeys names the keys of the environment that can be guessed: short ones, those of a few characters over and over, and those of the examples. The
// start-up warns of them; several processes with real WhatsApp refuse them.
func (c Config) WeakKeys() []string {
	var weak []string
	for _, k := range []struct{ name, key string }{{"ADMIN_API_KEY", c.AdminAPIKey}, {"BOOTSTRAP_API_KEY", c.BootstrapAPIKey}} {
		kinds := map[byte]bool{}
		for i := range len(k.key) {
			kinds[k.key[i]] = true
		}
		if k.key != "" && (len(k.key) < minKey || len(kinds) < minKinds || strings.HasPrefix(k.key, "change-me")) {
			weak = append(weak, k.name)
		}
	}
	return weak
}

// exposed tells of a hub that is run for others to use: with real WhatsApp, on several processes or a database that has some.
func (c Config) exposed(p Process) bool {
	return p != ProcessSimulator && c.Mode() == ModeReal && (!c.Embedded() || !c.SQLite())
}

// LogValue keeps secrets out of every log.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("mode", string(c.Mode())),
		slog.Bool("embedded", c.Embedded()),
		slog.String("http", c.HTTPAddr),
		slog.String("ops", c.OpsAddr),
		slog.String("database", redact(c.DatabaseURL)),
		slog.String("redis", redact(c.RedisURL)),
		slog.String("blobs", redact(c.BlobURL)),
		slog.Duration("lease", c.LeaseTTL),
	)
}

func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

// Load reads the settings of process p from environ ("NAME=value" pairs, as os.Environ gives them) and validates
// them. The error names every setting that is wrong and never contains a secret's value.
func Load(p Process, environ []string) (Config, error) {
	vars, err := resolveFiles(env.ToMap(environ))
	if err != nil {
		return Config{}, err
	}
	c, err := env.ParseAsWithOptions[Config](env.Options{Environment: vars})
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	if c.OpsAddr == "" {
		c.OpsAddr = "127.0.0.1:3003"
		if p == ProcessWorker {
			c.OpsAddr = "127.0.0.1:3004"
		}
	}
	if c.EgressAllowPrivate == nil {
		c.EgressAllowPrivate = new(c.Sandbox)
	}
	c.WhatsAppRootKey = strings.ToLower(strings.TrimSpace(c.WhatsAppRootKey))
	return c, c.validate(p)
}

// resolveFiles replaces each NAME_FILE by NAME with the file's content, less trailing line breaks. Only known
// settings are looked at: other programs' variables are none of our business.
func resolveFiles(vars map[string]string) (map[string]string, error) {
	params, err := env.GetFieldParams(&Config{})
	if err != nil {
		return nil, fmt.Errorf("list settings: %w", err)
	}
	for _, p := range params {
		path, ok := vars[p.Key+"_FILE"]
		if !ok || path == "" {
			continue
		}
		if vars[p.Key] != "" {
			return nil, fmt.Errorf("%s and %s_FILE are both set: choose one", p.Key, p.Key)
		}
		content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, fmt.Errorf("read %s_FILE: %w", p.Key, err)
		}
		vars[p.Key] = strings.TrimRight(string(content), "\r\n")
	}
	return vars, nil
}

// databaseProblem is what is wrong with DATABASE_URL, without the URL, which may hold a password.
func (c Config) databaseProblem() string {
	if path, ok := strings.CutPrefix(c.DatabaseURL, "sqlite://"); ok {
		if path == "" {
			return "needs a path: sqlite://data/hub.db"
		}
		return ""
	}
	u, err := url.Parse(c.DatabaseURL)
	switch {
	case err != nil:
		return "cannot be read as a URL; a password with other characters than letters and digits must be percent-encoded"
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return "must begin with sqlite:// or postgres://"
	case strings.Trim(u.Path, "/") == "" && u.Query().Get("dbname") == "":
		return "names no database: postgres://user:password@host/database"
	}
	return ""
}

func (c Config) validate(p Process) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if p == ProcessWorker && c.Embedded() {
		bad("REDIS_URL is required by the worker; without it the API runs the worker in its own process")
	}
	if c.Sandbox && c.RedisURL != "" {
		bad("SANDBOX is for the embedded hub: unset REDIS_URL, or run `api simulator` and set WHATSAPP_SERVER")
	}
	if c.Sandbox && c.WhatsAppServer != "" {
		bad("SANDBOX brings its own simulator: unset WHATSAPP_SERVER")
	}
	if (c.WhatsAppServer == "") != (c.WhatsAppRootKey == "") {
		bad("WHATSAPP_SERVER and WHATSAPP_ROOT_KEY go together; `api simulator` prints both")
	}
	if c.WhatsAppServer != "" {
		if _, _, err := net.SplitHostPort(c.WhatsAppServer); err != nil {
			bad("WHATSAPP_SERVER must be host:port")
		}
		if raw, err := hex.DecodeString(c.WhatsAppRootKey); err != nil || len(raw) != 32 {
			bad("WHATSAPP_ROOT_KEY must be 32 bytes in hex (64 digits)")
		}
	}
	if problem := c.databaseProblem(); problem != "" {
		bad("DATABASE_URL %s", problem)
	}
	if !strings.HasPrefix(c.BlobURL, "file://") {
		bad("BLOB_URL must begin with file:// (s3:// is not built yet)")
	}
	if c.BootstrapTenant != "" && !gateway.ValidTenantID(c.BootstrapTenant) {
		bad("BOOTSTRAP_TENANT must match ^[a-z0-9][a-z0-9-]{0,62}$")
	}
	if c.BootstrapAPIKey != "" && c.BootstrapTenant == "" {
		bad("BOOTSTRAP_API_KEY needs BOOTSTRAP_TENANT")
	}
	if c.AdminAPIKey != "" && c.AdminAPIKey == c.BootstrapAPIKey {
		bad("ADMIN_API_KEY and BOOTSTRAP_API_KEY must differ")
	}
	if c.exposed(p) {
		for _, name := range c.WeakKeys() {
			bad("%s can be guessed: use at least %d random characters (openssl rand -hex 16)", name, minKey)
		}
	}
	if _, err := c.readProxies(); err != nil {
		bad("TRUSTED_PROXIES must be networks such as 10.0.0.0/8, separated by commas, or none")
	}
	if c.RateLimit < 0 || c.RateLimit > gateway.MaxLimit {
		bad("RATE_LIMIT must be from 0 (no limit) to %d requests a second", gateway.MaxLimit)
	}
	if c.QueueLimit < 0 || c.QueueLimit > gateway.MaxLimit {
		bad("QUEUE_LIMIT must be from 0 (no limit) to %d messages", gateway.MaxLimit)
	}
	if _, err := c.readMasterKeys(); err != nil {
		bad("%w", err)
	}
	if c.LeaseTTL < time.Second || c.LeaseTTL > 10*time.Minute {
		bad("LEASE_TTL must be between 1s and 10m")
	}
	if c.MediaInflightBytes < gateway.MaxMediaBytes {
		bad("MEDIA_INFLIGHT_BYTES must be at least %d, the size of one file", gateway.MaxMediaBytes)
	}
	if err := new(slog.LevelVar).UnmarshalText([]byte(c.LogLevel)); err != nil {
		bad("LOG_LEVEL must be debug, info, warn or error")
	}
	if c.LogFormat != "" && c.LogFormat != "text" && c.LogFormat != "json" {
		bad("LOG_FORMAT must be text or json")
	}
	return errors.Join(errs...)
}
