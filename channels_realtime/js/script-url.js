/** The address of this classic script, which stands for `import.meta.url`; known only while it runs first. */
export const scriptUrl = globalThis.document?.currentScript?.src;
