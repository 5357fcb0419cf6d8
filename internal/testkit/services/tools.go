// Package services gives tests what runs beside the hub: servers of their own, fresh and private to the test process, and
// the tools that some tests need, installed where that is possible. It imports nothing of the hub, so that the tests of
// any room may use it.
package services

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// installing keeps two tests of one process from running the package manager at once; onThisMachine does that between
// processes.
var installing sync.Mutex //nolint:gochecknoglobals // guards something that exists once per machine

// Tool makes sure that check succeeds: as it is, or after installing the Debian packages when this is Debian and we
// are root. Otherwise the test is skipped with the names of what to install, and fails where CI is set.
func Tool(t testing.TB, check []string, packages ...string) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	if works(check) {
		return
	}
	missing := "install " + strings.Join(packages, " ") + ": `" + strings.Join(check, " ") + "` does not work here"
	if os.Geteuid() == 0 && works([]string{"apt-get", "--version"}) {
		defer onThisMachine(t)()
		if works(check) {
			return // another process was faster
		}
		run(t, "", "apt-get", "-q", "update")
		run(t, "", "apt-get", append([]string{"-qy", "-o", "DPkg::Lock::Timeout=120", "install", "--no-install-recommends"}, packages...)...)
		for _, service := range packages { // what a package starts by itself is not wanted; most have nothing to start
			works([]string{"systemctl", "disable", "--now", service})
		}
		if works(check) {
			return
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// NodeModules installs npm modules ("axios@1") once into the user's cache and returns the folder that holds
// node_modules.
func NodeModules(t testing.TB, modules ...string) string {
	t.Helper()
	Tool(t, []string{"npm", "--version"}, "nodejs", "npm")
	installing.Lock()
	defer installing.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "wapro-hub-tests", strings.NewReplacer("@", "_", "/", "_").Replace(strings.Join(modules, "+")))
	done := filepath.Join(dir, ".complete") // written last: an interrupted install is repeated
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "npm", append([]string{"install", "--no-audit", "--no-fund", "--prefix", dir}, modules...)...)
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// onThisMachine waits until no other test process installs anything, and returns what lets the next one go on. apt-get can
// wait for dpkg's lock, but not for that of its lists.
func onThisMachine(t testing.TB) (done func()) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "wapro-hub-installing"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { _ = file.Close() } // which frees the lock
}

func works(command []string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, command[0], command[1:]...).Run() == nil //nolint:gosec // commands are the tests' own
}

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // commands are the tests' own
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
