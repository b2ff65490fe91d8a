/**
 * `events:*`: who is there is public, introductions are private. Each export is one function; its path is `events:` and
 * its name.
 */
export { checkIn, checkOut } from "./checkins.js";
export { expireStale } from "./expiry.js";
export { getById, listLive, listNearby } from "./finding.js";
export { cancel, create, update, updateTags } from "./gatherings.js";
export { getSuggestions, listMyIntros, proposeIntro, respondIntro, submitIntroApproval } from "./intros.js";
export {
  getLocationShare,
  getShareRequest,
  requestLocationShare,
  submitLocationShare,
} from "./location-shares.js";
