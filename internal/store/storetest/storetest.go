// Package storetest is the conformance suite of the store: what every database has to keep, whatever its dialect.
package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/fakeclock"
)

// Opener opens an empty database and closes it when the test ends.
type Opener func(t *testing.T, opts store.Options) *store.Store

// Run runs the suite; every test opens its own database.
func Run(t *testing.T, open Opener) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, open Opener)
	}{
		{"TenantsAndKeys", testTenants},
		{"AKeyThatReplacesItselfGainsNothing", testOwnKeys},
		{"TenantIDIsFreeAfterDeletionKeyIsNot", testDeletion},
		{"SettingsAndMode", testSettings},
		{"IdempotencyOneOfManyGoesOn", testIdempotencyRace},
		{"IdempotencyAnswers", testIdempotencyAnswers},
		{"IdempotencyCompletesWithTheMessage", testIdempotencyWithAccept},
		{"AcceptRoundTrip", testRoundTrip},
		{"AcceptKeepsOrderAndSharesCommits", testAcceptMany},
		{"OneBadAcceptFailsAlone", testBadAcceptFailsAlone},
		{"AcceptIsNotUndoneByItsCaller", testAcceptCanceled},
		{"StanzaIDIsUnique", testStanzaUnique},
		{"SentContentsAreKeptForAWhile", testSentContents},
		{"UploadsAreKeptForAWhile", testUploads},
		{"BlobsAreKeptWhileNamedOrYoung", testBlobs},
		{"AcceptsAndCollectionsOfOneBlobRace", testBlobRace},
		{"ABlobSurvivesAKillAtAnyMoment", testBlobKill},
		{"ListWalksByCursor", testList},
		{"DepthCountsUnfinished", testDepth},
		{"BacklogsOfAllTenants", testBacklogs},
		{"ClaimTakesTheOldest", testClaimOldest},
		{"ClaimsRace", testClaimRace},
		{"ClaimHonoursTheFence", testClaimFenced},
		{"UpdateWritesHistoryOrNothing", testUpdate},
		{"GroupMembersCountOnce", testReceive},
		{"UnfinishedPostponedExpirable", testWork},
		{"ScheduledMessagesAreReleasedWhenDue", testRelease},
		{"ReleasesAndCancelsRace", testReleaseRace},
		{"InFlightElsewhere", testInFlightElsewhere},
		{"OptOutsAreKeptPerTenant", testOptOuts},
		{"InboundMessagesAreStoredOnce", testInbound},
		{"WordsChangeOptOuts", testWords},
		{"QuestionsReachTheOwnerAndAreAnsweredOnce", testQueries},
		{"QuestionsAreBounded", testQueryBounds},
		{"NumbersAreKnownForADay", testNumberChecks},
		{"WebSessionsEndWithTheirKey", testWebSessions},
		{"EventsAreToldToWhoListens", testEvents},
		{"EventsComeInOrderAndByKind", testEventOrder},
		{"PlacesOfEventsAreTimes", testPlaces},
		{"RestrictionsAreTold", testRestrictionEvents},
		{"EventsOfBulksCountTheirMessages", testBulkEvents},
		{"WebhooksAreToldInOrder", testWebhooks},
		{"OneWorkerHasTheTurnOfAWebhook", testWebhookTurns},
		{"OldEventsAreForgotten", testForgetEvents},
		{"AheadCountsWhatGoesBefore", testAhead},
		{"StatsTellWhatHappenedWhen", testStats},
		{"NextRecipientsComeInOrder", testNextRecipients},
		{"FirstContactsAreFoundOutLater", testFirstContactTimes},
		{"HeldMessagesAreReconsidered", testReconsider},
		{"WhoIsHeldBeforeIsCounted", testHeldBefore},
		{"APersonIsTheSameInAllSpellings", testSpellings},
		{"WhatWaitsIsWalkedOver", testWaiting},
		{"LeasesAreExclusive", testLeases},
		{"WorkersAndTheirShares", testWorkers},
		{"SpareSessionsComeInOrder", testSpare},
		{"SessionIsWrittenByItsOwner", testUpdateSession},
		{"CommandsReachTheOwnerOnce", testCommands},
		{"TenantsAreIsolated", testIsolation},
		{"BulkAppearsAtOnce", testBulkAppearsAtOnce},
		{"BulkIsDiscardedWhole", testBulkDiscarded},
		{"BulkIsReleasedInOrderUpToTheWindow", testBulkRelease},
		{"BulkIsCanceledInStepsAndSettled", testBulkEnds},
		{"BulkIsCanceledWithWhatWasBegun", testBulkCancelsWhatWasBegun},
		{"BulkIsJudgedByWhatEnded", testBulkResults},
		{"BulkCompletesItsKeyOnce", testBulkCompletesItsKey},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open)
		})
	}
}

// world is an open store with a tenant.
type world struct {
	*store.Store
	t      *testing.T
	clock  *fakeclock.Clock
	tenant gateway.Tenant
	made   int
}

func newWorld(t *testing.T, open Opener) *world {
	t.Helper()
	w := &world{t: t, clock: fakeclock.At(time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC))}
	w.Store = open(t, store.Options{Clock: w.clock.Now})
	w.tenant = w.newTenant("algo")
	return w
}

func (w *world) newTenant(id string) gateway.Tenant {
	w.t.Helper()
	tenant, err := w.CreateTenant(w.t.Context(), id, "Tenant "+id)
	must(w.t, err)
	return tenant
}

// message makes a queued message that is not stored yet.
func (w *world) message(tenant gateway.Tenant, lane gateway.Priority) *gateway.Message {
	w.made++
	return newMessage(tenant, lane, w.made, w.clock.Now())
}

func newMessage(tenant gateway.Tenant, lane gateway.Priority, n int, now time.Time) *gateway.Message {
	return &gateway.Message{
		ID: fmt.Sprintf("%s-%d-%06d", tenant.ID, tenant.Key, n), TenantKey: tenant.Key, TenantID: tenant.ID,
		To: "4915550000001", Type: gateway.TypeText, Text: "hello", Priority: lane,
		WhatsAppID: fmt.Sprintf("3EB0%d%06d", tenant.Key, n), Status: gateway.StatusQueued, Phase: gateway.PhaseWaiting,
		CreatedAt: now, ExpiresAt: now.Add(gateway.DefaultExpiry), UpdatedAt: now,
	}
}

// accept stores n messages and returns them.
func (w *world) accept(lane gateway.Priority, n int) []*gateway.Message {
	w.t.Helper()
	var list []*gateway.Message
	for range n {
		m := w.message(w.tenant, lane)
		must(w.t, w.Accept(w.t.Context(), []*gateway.Message{m}, nil))
		list = append(list, m)
	}
	return list
}

// lease acquires the sessions that are free for owner and returns the fence of the world's tenant.
func (w *world) lease(owner string, ttl time.Duration) gateway.Fence {
	w.t.Helper()
	sessions, err := w.AcquireSessions(w.t.Context(), owner, ttl, 100)
	must(w.t, err)
	for _, s := range sessions {
		if s.TenantKey == w.tenant.Key {
			return gateway.Fence{TenantKey: s.TenantKey, Owner: s.Owner, Epoch: s.Epoch}
		}
	}
	w.t.Fatalf("%s did not get the lease", owner)
	return gateway.Fence{}
}

func (w *world) claim(f gateway.Fence, m *gateway.Message) *gateway.Message {
	w.t.Helper()
	claimed, err := w.Claim(w.t.Context(), f, ticket(m), begin(w.clock.Now(), f.Owner))
	must(w.t, err)
	return claimed
}

func ticket(m *gateway.Message) gateway.Ticket {
	return gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority}
}

func begin(now time.Time, instance string) func(*gateway.Message) ([]gateway.Event, error) {
	return func(m *gateway.Message) ([]gateway.Event, error) { return m.Begin(now, instance) }
}

func apply(now time.Time, instance string, o gateway.Outcome) func(*gateway.Message) ([]gateway.Event, error) {
	return func(m *gateway.Message) ([]gateway.Event, error) { return m.Apply(now, instance, o), nil }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code gateway.Code) {
	t.Helper()
	if !errors.Is(err, &gateway.Error{Code: code}) {
		t.Fatalf("got error %v, want code %s", err, code)
	}
}

func ids(list []gateway.Message) []string {
	out := []string{}
	for _, m := range list {
		out = append(out, m.ID)
	}
	return out
}
