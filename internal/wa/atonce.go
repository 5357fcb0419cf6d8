package wa

import (
	"context"
	"maps"
	"slices"

	"github.com/wapro/hub/internal/gateway"
)

// putAtOnce writes, on Postgres, what a send has to write before its message is on the wire in one statement, which checks the lease and the
// claim as well: one trip to the server instead of five. The tables are whatsmeow's; TestSignalStateIsWrittenAtOnce reads them back through
// whatsmeow. In order of address, so that no two such statements wait for each other.
const putAtOnce = `{held}, identities AS (
		INSERT INTO whatsmeow_identity_keys (our_jid, their_id, identity)
		SELECT $6::text, t.id, t.identity FROM unnest($7::text[], $8::bytea[]) AS t (id, identity) WHERE EXISTS (SELECT 1 FROM held)
		ON CONFLICT (our_jid, their_id) DO UPDATE SET identity = excluded.identity)
	INSERT INTO whatsmeow_sessions (our_jid, their_id, session)
		SELECT $6::text, t.id, t.session FROM unnest($9::text[], $10::bytea[]) AS t (id, session) WHERE EXISTS (SELECT 1 FROM held)
		ON CONFLICT (our_jid, their_id) DO UPDATE SET session = excluded.session`

// execHeld is Database.ExecHeld under the lease of a client.
type execHeld func(ctx context.Context, c gateway.Claim, statement string, args ...any) (int64, error)

// putSessions writes the sessions of the device jid, with the identities of the same send, and reports whether it did: not when the lease or
// the claim is lost.
func (exec execHeld) putSessions(ctx context.Context, c gateway.Claim, jid string, identities map[string][32]byte, sessions map[string][]byte) (bool, error) {
	var keys, blobs [][]byte
	people, addresses := slices.Sorted(maps.Keys(identities)), slices.Sorted(maps.Keys(sessions))
	for _, address := range people {
		key := identities[address]
		keys = append(keys, key[:])
	}
	for _, address := range addresses {
		blobs = append(blobs, sessions[address])
	}
	n, err := exec(ctx, c, putAtOnce, jid, people, keys, addresses, blobs)
	return n > 0, err
}
