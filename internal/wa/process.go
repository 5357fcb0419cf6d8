package wa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.mau.fi/libsignal/logger"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waCompanionReg"
	"go.mau.fi/whatsmeow/store"
	"google.golang.org/protobuf/proto"
)

// deviceName is what the phone's list of linked devices shows.
const deviceName = "WA Pro Hub"

// versionTimeout bounds the one request of RefreshVersion.
const versionTimeout = 15 * time.Second

// whatsmeow and libsignal keep some settings per process, as package variables. The functions of this file are the
// only ones that write them; app calls them at start-up, before any client connects.

// SetRootKey replaces the root of the Noise certificate chain, so that a simulator is accepted and WhatsApp is not.
func SetRootKey(key [32]byte) error {
	if key == [32]byte{} {
		return errors.New("the simulator's root key is empty")
	}
	whatsmeow.WACertPubKey = key
	return nil
}

// SetProcessDefaults names this program to phones, asks for as little history as the protocol lets a device ask for,
// and sends libsignal's log lines, which otherwise go to standard output, to log.
func SetProcessDefaults(log *slog.Logger) {
	store.DeviceProps.Os = proto.String(deviceName)
	store.DeviceProps.PlatformType = waCompanionReg.DeviceProps_DESKTOP.Enum()
	store.DeviceProps.RequireFullSync = proto.Bool(false)
	var signal logger.Loggable = signalLog{log: log}
	logger.Setup(&signal)
}

// SetVersion pins the client version shown to WhatsApp: three numbers with dots, "2.3000.1045649367".
func SetVersion(version string) error {
	parsed, err := store.ParseVersion(version)
	if err != nil {
		return fmt.Errorf("parse client version: %w", err)
	}
	store.SetWAVersion(parsed)
	return nil
}

// RefreshVersion asks web.whatsapp.com for the current client version and uses it from the next connection on.
func RefreshVersion(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	latest, err := whatsmeow.GetLatestVersion(ctx, &http.Client{Timeout: versionTimeout})
	if err != nil {
		return "", fmt.Errorf("fetch the client version: %w", err)
	}
	store.SetWAVersion(*latest)
	return latest.String(), nil
}
