/**
 * @param {any} locks  The browser's LockManager.
 * @param {string} name
 * @returns {Promise<() => void>}  Resolves when the lock is held, with what releases it.
 */
export function hold(locks, name) {
  return new Promise((resolve, reject) => {
    locks.request(name, () => new Promise((release) => resolve(() => release(undefined)))).catch(reject);
  });
}
