package app

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/wapro/hub/internal/secret"
)

func TestProcessesOfOneHostMakeOneMasterKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), masterKeyFile)
	keys := make([]secret.Key, 8)
	var wait sync.WaitGroup
	for i := range keys {
		wait.Go(func() {
			var err error
			if keys[i], err = keepMasterKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, key := range keys {
		if key != keys[0] || key == (secret.Key{}) {
			t.Error("two processes have two keys")
		}
	}
	if again, err := keepMasterKey(path); err != nil || again != keys[0] {
		t.Errorf("another key after a restart, %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
}

func TestADamagedMasterKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), masterKeyFile)
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keepMasterKey(path); err == nil {
		t.Error("a damaged key was taken or replaced: what it sealed would be lost")
	}
}
