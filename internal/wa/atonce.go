package wa

import (
	"context"
	"maps"
	"slices"

	"github.com/wapro/hub/internal/gateway"
)

// putAtOnce writes, on Postgres, what a send has to write before its message is on the wire in one statement, which checks the lease and the
// claim as well, and does so for other sessions' sends at the same time. The tables are whatsmeow's; TestSignalStateIsWrittenAtOnce reads them
// back through whatsmeow. In order of address, so that no two such statements wait for each other.
const putAtOnce = `{held}, given AS MATERIALIZED (SELECT t.* FROM unnest((SELECT $6::bigint[]), (SELECT $7::text[]), (SELECT $8::text[]),
			(SELECT $9::bytea[]), (SELECT $10::bytea[])) AS t (k, jid, id, identity, session)
		JOIN held USING (k) ORDER BY t.jid, t.id),
	identities AS (INSERT INTO whatsmeow_identity_keys (our_jid, their_id, identity)
		SELECT jid, id, identity FROM given WHERE identity IS NOT NULL
		ON CONFLICT (our_jid, their_id) DO UPDATE SET identity = excluded.identity),
	sessions AS (INSERT INTO whatsmeow_sessions (our_jid, their_id, session)
		SELECT jid, id, session FROM given WHERE session IS NOT NULL
		ON CONFLICT (our_jid, their_id) DO UPDATE SET session = excluded.session)
	SELECT k FROM held`

// execHeld is Database.ExecHeld under the lease of a client.
type execHeld func(ctx context.Context, c gateway.Claim, statement string, columns ...any) (bool, error)

// putSessions writes the sessions of the device jid, with the identities of the same send, and reports whether it did: not when the lease or
// the claim is lost.
func (exec execHeld) putSessions(ctx context.Context, c gateway.Claim, jid string, identities map[string][32]byte, sessions map[string][]byte) (bool, error) {
	var jids, addresses []string
	var keys, blobs [][]byte
	for _, address := range slices.Sorted(maps.Keys(identities)) {
		key := identities[address]
		jids, addresses, keys, blobs = append(jids, jid), append(addresses, address), append(keys, key[:]), append(blobs, nil)
	}
	for _, address := range slices.Sorted(maps.Keys(sessions)) {
		jids, addresses, keys, blobs = append(jids, jid), append(addresses, address), append(keys, nil), append(blobs, sessions[address])
	}
	return exec(ctx, c, putAtOnce, jids, addresses, keys, blobs)
}
